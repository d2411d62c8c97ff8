"""Opened studies in memory: read once, again where written anew, kept where they vanish."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .shelf import Shelf

if TYPE_CHECKING:
    from .. import Study

STUDY_BYTES = 600_000_000
"""Numbers and pixels of opened studies in memory; one that alone is larger is kept, too."""
PIXEL_BYTES = 150_000_000
"""Pixels of a study above which they are read from disk, image by image, as they are shown."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """A study, and its files as they were when it was read."""

    study: "Study"
    written: int | None
    trouble: str | None = None


class OpenedStudies:
    """By path, bounded by `STUDY_BYTES`."""

    def __init__(self) -> None:
        self._shelf: Shelf[_Opened] = Shelf(STUDY_BYTES)

    def open(self, path: Path) -> "Study":
        """The study at a path; what was read of one that has gone or was damaged since is kept.

        Raises:
            HeadscopeError: it cannot be opened, and never was.
        """
        from .. import HeadscopeError, open_study

        kept, written = self._shelf.get(str(path)), written_at(path)
        if kept is not None and kept.written == written:
            return kept.study
        try:
            study = open_study(path).load(pixels=PIXEL_BYTES)
            opened = _Opened(study, written)
        except HeadscopeError as error:
            if kept is None:
                raise
            told = f"{error} What was read of it before is still shown."
            opened = _Opened(kept.study, written, told)
        size = sum(variable.nbytes for variable in opened.study.data.variables.values())
        self._shelf.put(str(path), opened, size)
        return opened.study

    def trouble_with(self, path: Path) -> str | None:
        """What became of a study's files since it was read, in a sentence."""
        kept = self._shelf.get(str(path))
        return None if kept is None else kept.trouble


def written_at(path: Path) -> int | None:
    """When a study was written last; None where there is none."""
    for file in (path / "zarr.json", path):
        try:
            return file.stat().st_mtime_ns
        except OSError:
            continue
    return None
