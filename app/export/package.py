"""What belongs to a figure: its files, table, caption and provenance; and all of it in a zip."""

import html
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...models.errors import HeadscopeError
from ..figures.paper import PaperFigure
from . import tables
from .render import Format, render_printed
from .sheet import Sheet
from .style import printed

_DATE = (2000, 1, 1, 0, 0, 0)
"""Of every file in a zip: what is the same has the same bytes."""
PROVENANCE, PAGE, REPORT = "provenance.json", "index.html", "report.md"


@dataclass(frozen=True, eq=False)
class Made:
    """One figure with a name."""

    name: str
    title: str
    paper: PaperFigure


def figure_files(made: Made, sheet: Sheet, formats: Sequence[str]) -> dict[str, bytes]:
    """The files of one figure, by name.

    Raises:
        HeadscopeError: there is no Chrome to print with.
    """
    files: dict[str, bytes] = {}
    paper = made.paper
    if paper.figure is not None and set(formats) - {"csv"}:
        ready = printed(paper.figure, sheet, keep_height=paper.keep_height)
        for form in formats:
            if form != "csv":
                files[f"{made.name}.{form}"] = render_printed(ready, sheet, _format(form))
    return files | table_files(made, formats)


def table_files(made: Made, formats: Sequence[str] = ("csv",)) -> dict[str, bytes]:
    """The table of a figure in all three forms, and its caption."""
    rows, caption, name = made.paper.rows, made.paper.caption, made.name
    files: dict[str, bytes] = {}
    if rows:
        if "csv" in formats:
            files[f"{name}.csv"] = tables.csv(rows)
        files[f"{name}.tex"] = tables.latex(rows, caption, f"tab:{name}").encode()
        files[f"{name}.md"] = tables.markdown(rows, caption).encode()
    files[f"{name}.caption.txt"] = f"{caption}\n".encode()
    return files


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Files as one; the same files, the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def overview(
    all_made: Sequence[Made], files: Mapping[str, bytes], left_out: Mapping[str, str], title: str
) -> dict[str, bytes]:
    """A page and a Markdown file that show what was made; `left_out` says why others are not."""
    heading = html.escape(title)
    page = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{heading}</title>",
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem;color:#16202b}figure{margin:2.5rem 0}img{max-width:100%}"
        "figcaption{color:#4a5561;font-size:14px}a{color:#0b63ce}</style>",
        f"<h1>{heading}</h1>",
    ]
    text = [f"# {title}", ""]
    for made in all_made:
        shown = next(
            (f"{made.name}.{e}" for e in ("svg", "png") if f"{made.name}.{e}" in files), ""
        )
        own = [name for name in files if name.partition(".")[0] == made.name]
        links = " · ".join(f'<a href="{name}">{name}</a>' for name in own)
        name = html.escape(made.title)
        picture = f'<img src="{shown}" alt="{name}">' if shown else ""
        page.append(
            f"<figure><h2>{name}</h2>{picture}"
            f"<figcaption>{html.escape(made.paper.caption)}<br>{links}</figcaption></figure>"
        )
        text += [f"## {made.title}", ""]
        text += [f"![{made.title}]({shown})", ""] if shown else []
        text += [made.paper.caption, "", " · ".join(f"[{name}]({name})" for name in own), ""]
    if left_out:
        page.append("<h2>Left out</h2><ul>")
        text += ["## Left out", ""]
        for name, why in left_out.items():
            page.append(f"<li><b>{html.escape(name)}</b>: {html.escape(why)}</li>")
            text.append(f"- **{name}**: {why}")
        page.append("</ul>")
    page.append(f'<p>Where it all comes from: <a href="{PROVENANCE}">{PROVENANCE}</a></p></html>')
    return {PAGE: "\n".join(page).encode(), REPORT: ("\n".join(text) + "\n").encode()}


def letter_of(letter: str, place: int) -> str:
    """The letter of a later panel: a, b, c …"""
    last = letter[-1:]
    if not last or not (last.isascii() and last.isalpha()) or ord(last.lower()) + place > ord("z"):
        return letter
    return letter[:-1] + chr(ord(last) + place)


def _format(name: str) -> Format:
    if name not in ("pdf", "svg", "png"):
        raise HeadscopeError(f"There is no format {name!r}; there are pdf, svg, png, csv.")
    return name  # pyright: ignore[reportReturnType]
