"""`headscope report`: the figures and tables of a study as files for a paper, without the app."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    pass

_REPORT = """\
examples:
  headscope report photos.zarr --out figures
  headscope report photos.zarr --out figures --figures atlas,ranking --width 183mm --letter a
  headscope report a.zarr --out figures --against b.zarr --figures difference --formats pdf
  headscope report photos.zarr --out figures --head 3.1 --image cat.jpg --query 48,32

Each figure becomes FIGURE.pdf, .svg, .png, its data FIGURE.csv, the table as FIGURE.tex
(booktabs) and .md, and FIGURE.caption.txt with n, interval and settings. provenance.json says
where all comes from; index.html and report.md show it. The same command writes the same bytes.
Files of these names in FOLDER are written anew, others are left alone. Ctrl-C keeps what is
there.

Without --figures: all that the study has the numbers for, and those that run the network if its
checkpoint loads. A wrong name gets the list.
"""


def add_report(
    commands: Any, command: Callable[[Any, str, str, str], argparse.ArgumentParser]
) -> None:
    """Add the command to the parser."""
    summary = "write the figures and tables of a study for a paper"
    parser = command(commands, "report", summary, _REPORT)
    parser.add_argument("study", type=Path, metavar="X.zarr", help="made by headscope analyze")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="for the files")
    parser.add_argument("--figures", metavar="A,…", help="names of figures (default: all)")
    parser.add_argument(
        "--width",
        default="89mm",
        metavar="W",
        help="of the page, in mm, in or pt: 89mm, 183mm, 3.5in, 7.16in (default: %(default)s)",
    )
    parser.add_argument("--height", metavar="H", help="(default: what suits each figure)")
    parser.add_argument(
        "--font-size", type=float, default=7.0, metavar="PT", help="(default: %(default)g)"
    )
    parser.add_argument(
        "--font", default="sans", metavar="F", help="sans, arial, helvetica or serif"
    )
    parser.add_argument("--palette", metavar="P", help="viridis, cividis, inferno or greys")
    parser.add_argument("--signed-palette", metavar="P", help="puor, rdbu or brbg")
    parser.add_argument(
        "--range", metavar="LOW,HIGH", help="ends of the colours, for figures that share them"
    )
    parser.add_argument(
        "--letter", default="", metavar="a", help="panel letter of the first figure; others go on"
    )
    parser.add_argument(
        "--formats", default="pdf,svg,png,csv", metavar="F,…", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--dpi", type=int, default=300, metavar="N", help="of PNG (default: %(default)s)"
    )
    parser.add_argument(
        "--background", default="white", metavar="B", help="white or none (default: %(default)s)"
    )
    parser.add_argument("--metric", metavar="M", help="number per head, such as js_divergence:zero")
    parser.add_argument(
        "--other", metavar="M", help="the number that it is set against (default: distance)"
    )
    parser.add_argument(
        "--head", metavar="L.H", help="layer and head, such as 3.1 (default: first by --metric)"
    )
    parser.add_argument("--image", metavar="NAME", help="of the study (default: the first)")
    parser.add_argument(
        "--scope", default="mean", choices=("mean", "image"), help="of the atlas's numbers"
    )
    parser.add_argument(
        "--query", metavar="Q", help="class, mean, or a place in px as 48,32 (row, column)"
    )
    parser.add_argument(
        "--method", default="grad-cam", metavar="M", help="of the explanation (default: grad-cam)"
    )
    parser.add_argument("--marked", metavar="L.H,…", help="heads that are outlined")
    parser.add_argument(
        "--against", type=Path, metavar="Y.zarr", help="another study of the same images"
    )
    parser.add_argument(
        "--no-checkpoint", action="store_true", help="nothing that runs the network"
    )
    parser.add_argument(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="the function that made the study's checkpoint; it is run, so it must be trusted",
    )
    parser.set_defaults(run=report)


def report(options: argparse.Namespace) -> None:
    """Write the figures of a study."""
    from ..analysis.study import open_study
    from .export.making import make, named
    from .export.render import stop
    from .export.sheet import Sheet, formats, limits
    from .figures.paper import Request

    sheet = Sheet(
        width=options.width,
        height=options.height,
        font_size=options.font_size,
        font=options.font,
        palette=options.palette,
        signed=options.signed_palette,
        limits=None if options.range is None else limits(options.range),
        letter=options.letter,
        dpi=options.dpi,
        background=options.background,
    )
    forms = formats(options.formats)
    names = None if options.figures is None else _names(options.figures)
    chosen = named(names)
    study = open_study(options.study)
    if not study.n_done:
        raise HeadscopeError(f"No image of {options.study} is done; run headscope analyze again.")
    against = None if options.against is None else open_study(options.against)
    checkpoint, why = None, ""
    if not options.no_checkpoint and any("checkpoint" in maker.needs for maker in chosen):
        from ..analysis.reloading import checkpoint_or_reason

        checkpoint, reason = checkpoint_or_reason(study, options.factory)
        why = f"Without the figures that run the network: {reason}" if reason else ""
    if why:
        print(f"headscope: {why}", file=sys.stderr)
    request = Request(
        study=study,
        against=against,
        checkpoint=checkpoint,
        metric=options.metric,
        other=options.other,
        head=None if options.head is None else _head(options.head),
        image=options.image,
        scope=options.scope,
        query=options.query,
        method=options.method,
        marked=() if options.marked is None else tuple(map(_head, options.marked.split(","))),
    )
    _check(request)
    out: Path = options.out
    _folder(out)
    written: list[str] = []

    def keep(name: str, data: bytes) -> None:
        try:
            (out / name).write_bytes(data)
        except OSError as error:
            raise HeadscopeError(f"Cannot write {out / name} ({error.strerror}).") from error
        written.append(name)

    try:
        with Bar(total=1) as bar:
            found = make(request, names, sheet, forms, progress=bar.show, keep=keep)
    except KeyboardInterrupt as stopped:
        kept = f"In {out} are {', '.join(written)}." if written else "Nothing was written yet."
        raise KeyboardInterrupt(kept) from stopped
    finally:
        stop()
    for name, reason in found.left_out.items():
        print(f"headscope: left out: {name}: {reason}", file=sys.stderr)
    n = len(found.made)
    print(f"{n} figure{'s' * (n != 1)} in {out}; {out / 'index.html'} shows them.")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise HeadscopeError("--figures names none; leave it out for all.")
    return names


def _head(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,3})\.(\d{1,3})\s*", text)
    if match is None:
        raise HeadscopeError(f"{text!r} is no head: give layer and head, such as 3.1.")
    return int(match[1]), int(match[2])


def _check(request: Any) -> None:
    """What is chosen by name is looked up at once, whatever figure uses it."""
    _ = request.chosen_head, request.other_metric, request.image_index
    if request.method != "grad-cam":
        from ..analysis.explain import method_of

        method_of(request.method)


def _folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise HeadscopeError(f"{out} is a file; give a folder for the figures.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadscopeError(f"Cannot write to {out} ({error.strerror}).") from error
