"""The studies that the page can open, by name."""

import os
from pathlib import Path

from .serve import STUDIES


def given() -> dict[str, Path]:
    """Those that the app was opened with."""
    paths = [Path(text) for text in os.environ.get(STUDIES, "").split(os.pathsep) if text]
    return _named(paths)


def known() -> dict[str, Path]:
    """All, in the order in which they are offered."""
    return given()


def first() -> str | None:
    """The one that the page begins with, where it was opened with one."""
    return next(iter(given()), None)


def _named(paths: list[Path]) -> dict[str, Path]:
    """By the file's name; by the whole path where two have the same name."""
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}
