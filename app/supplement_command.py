"""What `headscope supplement` does: its arguments, the work, the file."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    from ..analysis.study import Study

_EXAMPLES = """\
examples:
  headscope supplement photos.zarr --out study.html
  headscope supplement photos.zarr --out study.html --title "Supplement 2" --maps-mb 100
  headscope supplement photos.zarr --out study.html --no-checkpoint

One HTML file with the atlas, the head card and all numbers of a study, which opens without a server
and without a network. Attention maps are made with the checkpoint, of images spread evenly over the
study, as many as fit. Ctrl-C leaves no file.
"""
MAPS_MB = 40.0


def add_supplement(
    commands: Any, command: Callable[[Any, str, str, str], argparse.ArgumentParser]
) -> None:
    """Add the command to the parser."""
    summary = "write a whole study as one HTML file that works offline"
    parser = command(commands, "supplement", summary, _EXAMPLES)
    parser.add_argument("study", type=Path, metavar="STUDY.zarr", help="made by headscope analyze")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.html", help="what to write"
    )
    parser.add_argument("--title", metavar="T", help="heading (default: the checkpoint's name)")
    parser.add_argument(
        "--maps-mb",
        type=_megabytes,
        default=MAPS_MB,
        metavar="MB",
        help="megabytes that attention maps may take (default: %(default)g)",
    )
    parser.add_argument(
        "--images",
        type=_count,
        metavar="N",
        help="maps of at most N images (default: all that fit)",
    )
    parser.add_argument(
        "--no-checkpoint", action="store_true", help="leave the maps out; no checkpoint is loaded"
    )
    parser.add_argument(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="the function that made the study's checkpoint; it is run, so it must be trusted",
    )
    parser.set_defaults(run=write)


def write(options: argparse.Namespace) -> None:
    """Make the file, and say what is in it."""
    from ..analysis.study import open_study

    study = open_study(options.study)
    _check_writable(options.out)
    try:
        with Bar(total=1) as bar:
            write_supplement(
                study,
                options.out,
                factory=options.factory,
                with_maps=not options.no_checkpoint,
                maps_mb=options.maps_mb,
                images=options.images,
                title=options.title,
                progress=bar.show,
            )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{options.out} was not written.") from stop
    print(f"Saved as {options.out} ({options.out.stat().st_size / 1e6:.1f} MB).")


def write_supplement(
    study: "Study",
    out: Path,
    *,
    factory: str | None = None,
    with_maps: bool = True,
    maps_mb: float = MAPS_MB,
    images: int | None = None,
    title: str | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> None:
    """Write a study as one HTML file; without maps, and saying why, where they cannot be made.

    Raises:
        HeadscopeError: the factory's checkpoint is not the study's, or `out` cannot be written.
    """
    from .supplement import supplement
    from .supplement.making import WITHOUT

    checkpoint, without = None, WITHOUT
    if with_maps:
        if progress is not None:
            progress(0, "loading the checkpoint")
        from ..analysis.reloading import checkpoint_or_reason

        checkpoint, reason = checkpoint_or_reason(study, factory)
        why = f"There are no attention maps in this file. {reason}" if reason else ""
        without = why or WITHOUT
    made = supplement(
        study,
        checkpoint,
        maps_mb=maps_mb,
        images=images,
        title=title,
        without=without,
        progress=progress,
    )
    _write(out, made)


def _check_writable(out: Path) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise HeadscopeError(f"{out} is no name of an HTML file: end it with .html.")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise HeadscopeError(f"{out} cannot be written: give a file in a folder that exists.")


def _write(out: Path, content: bytes) -> None:
    """All of it or nothing: a file half written looks like one that is damaged."""
    from ..models.demo.weights import replacing

    try:
        with replacing(out) as part:
            part.write_bytes(content)
    except OSError as error:
        raise HeadscopeError(
            f"{out} cannot be written ({error.strerror}); choose another place."
        ) from error


def _megabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give megabytes, such as 40")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images: give 0 or more")
    return int(text)
