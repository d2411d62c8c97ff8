"""The export of a chart as it stands: a discreet menu below it, filled when it is opened."""

import html
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import selection
from ...linked import SHEET, plotly_address

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ...export.package import Made
    from ...export.sheet import Sheet

WIDTH = "print_width"
MIMES = {
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "png": "image/png",
    "zip": "application/zip",
    "csv": "text/csv",
    "tex": "application/x-tex",
    "md": "text/markdown",
}
_COLUMNS = {
    "89mm": "89 mm (one column)",
    "183mm": "183 mm (two columns)",
    "3.5in": "3.5 in",
    "7.16in": "7.16 in",
}


def menu(
    figure: "go.Figure",
    words: str,
    key: str,
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
    caption: str = "",
) -> None:
    """Save this very chart in print style; without `rows`, what is drawn is its table."""
    popover = st.popover(
        "Export",
        icon=":material/ios_share:",
        type="tertiary",
        key=f"export {key}",
        on_change="rerun",
    )
    if not popover.open:  # nothing is made before somebody wants it
        return
    from ...export.package import Made
    from ...export.rows import rows_of
    from ...export.sheet import Sheet
    from ...export.style import size
    from ...figures.paper import PaperFigure

    with popover:
        st.session_state.setdefault(WIDTH, "89mm")
        width = st.selectbox(
            "Width",
            list(_COLUMNS),
            index=list(_COLUMNS).index(st.session_state[WIDTH]),
            format_func=_COLUMNS.__getitem__,
            key=f"export width {key}",
            help="7 pt text. The part Export, below, has all settings.",
        )
        st.session_state[WIDTH] = width
        title = key.replace("_", "-")
        said = caption or f"{words} {_about()}".strip()
        found = rows_of(figure) if rows is None else rows
        height = int(figure.layout.height or 380)  # pyright: ignore
        paper = PaperFigure(figure, found, said, keep_height=height > 480)
        made, sheet = Made(title, words, paper), Sheet(width=width)
        across, down = size(sheet, figure, keep_height=paper.keep_height)
        mm = sheet.width_mm
        st.caption(f"{mm:.1f} × {mm * down / across:.1f} mm, text {sheet.font_size:g} pt")
        downloads(made, sheet, key)


def downloads(made: "Made", sheet: "Sheet", key: str, *, preview: bool = False) -> None:
    """Buttons for each format of a figure; files are made when they are clicked."""
    from ...export.render import NO_CHROME, is_possible

    possible = is_possible()
    paper = made.paper
    if paper.figure is not None:
        if preview or not possible:
            on_paper(made, sheet, key, preview=preview, save=not possible)
        with st.container(horizontal=True):
            for form in ("pdf", "svg", "png") if possible else ("pdf",):
                st.download_button(
                    form.upper(),
                    partial(_file, made, sheet, form),
                    file_name=f"{made.name}.{form}",
                    mime=MIMES[form],
                    key=f"export {form} {key}",
                    on_click="ignore",
                    disabled=not possible,
                    help=None if possible else NO_CHROME,
                )
            if not preview:
                st.download_button(
                    "Zip",
                    partial(_zip, made, sheet, selection.current().to_query(), printed=possible),
                    file_name=f"{made.name}.zip",
                    mime=MIMES["zip"],
                    key=f"export zip {key}",
                    on_click="ignore",
                    help="The figure, its data and table, the caption, and where it comes from",
                )
        if not possible:
            st.caption(f"PDF: {NO_CHROME} SVG and PNG are made by this browser.")
    if paper.rows:
        with st.container(horizontal=True):
            for form, label in (("csv", "CSV"), ("tex", "LaTeX"), ("md", "Markdown")):
                st.download_button(
                    label,
                    partial(_file, made, sheet, form),
                    file_name=f"{made.name}.{form}",
                    mime=MIMES[form],
                    key=f"export {form} {key}",
                    on_click="ignore",
                    type="tertiary",
                    icon=":material/table:",
                )
    if made.paper.caption and not preview:
        st.html(f'<p class="hs-small">{html.escape(made.paper.caption)}</p>')


def on_paper(made: "Made", sheet: "Sheet", key: str, *, preview: bool, save: bool) -> None:
    """The figure in true proportions, drawn by the browser; `save`: with buttons of its own."""
    from ...export.style import printed

    figure = made.paper.figure
    assert figure is not None
    ready = printed(figure, sheet, keep_height=made.paper.keep_height)
    width: int = ready.layout.width  # pyright: ignore
    height: int = ready.layout.height  # pyright: ignore
    SHEET(
        key=f"sheet {key}",
        data={
            "figure": ready.to_json(),
            "plotly": plotly_address(),
            "name": made.name,
            "words": made.title,
            "width": width,
            "height": height,
            "mm": [sheet.width_mm, sheet.width_mm * height / width],
            "dpi": sheet.dpi,
            "preview": preview,
            "save": save,
        },
    )


def _about() -> str:
    """What the page shows, for a chart that brings no caption."""
    now = selection.current()
    return " ".join(f"{part}." for part in (now.study or now.checkpoint, now.image) if part)


def _file(made: "Made", sheet: "Sheet", form: str) -> bytes:
    """Runs when a button is clicked, in a thread of its own."""
    from ...export.package import figure_files, table_files

    if form in ("csv", "tex", "md"):
        return table_files(made)[f"{made.name}.{form}"]
    return figure_files(made, sheet, [form])[f"{made.name}.{form}"]


def _zip(made: "Made", sheet: "Sheet", page: dict[str, str], *, printed: bool) -> bytes:
    from ...export.package import PROVENANCE, figure_files, zipped
    from ...export.provenance import provenance

    formats = ("pdf", "svg", "png", "csv") if printed else ("csv",)
    files = figure_files(made, sheet, formats)
    facts = {"made_by": "headscope", "figures": [made.name], "page": page}
    return zipped(files | {PROVENANCE: provenance(facts, sheet, formats)})
