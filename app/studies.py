"""The studies that the page can open, by name: given with the command, opened lately, samples."""

import json
import os
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from .serve import STUDIES

HOME = "HEADSCOPE_HOME"
"""Environment variable: the folder where headscope remembers what was opened on this machine."""
SAMPLE = "sample/"
"""Begins the name of a study that comes with headscope."""
REMEMBERED = 12
"""Studies that were opened lately."""

_SAMPLES = Path(__file__).parent.parent / "assets" / "sample-studies"
_SUFFIX = ".zarr.zip"


def given() -> dict[str, Path]:
    """Those that the app was opened with."""
    paths = [Path(text) for text in os.environ.get(STUDIES, "").split(os.pathsep) if text]
    return {_sample_name(path) or name: path for name, path in _named(paths).items()}


def samples() -> dict[str, Path]:
    """Those that come with headscope: `"sample/supervised"`."""
    return {str(_sample_name(path)): path for path in sorted(_SAMPLES.glob(f"*{_SUFFIX}"))}


def recent() -> list[Path]:
    """Those that were opened lately on this machine and are still there, the last one first."""
    try:
        told = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing yet, or not by us
        return []
    paths = [Path(text) for text in told if isinstance(text, str)] if isinstance(told, list) else []
    return [path for path in paths if _is_there(path)]


def known() -> dict[str, Path]:
    """All, in the order in which they are offered."""
    begun = given()
    before = {path.resolve() for path in begun.values()}
    later = [path for path in recent() if path.resolve() not in before]
    names = [path.name for path in later]
    for path in later:
        short = names.count(path.name) == 1 and path.name not in begun
        begun[path.name if short else str(path)] = path
    return begun | {name: path for name, path in samples().items() if name not in begun}


def first() -> str | None:
    """The one that the page begins with, where it was opened with one."""
    return next(iter(given()), None)


def at(text: str) -> Path | None:
    """The place of a study that somebody typed; None where there is none."""
    try:
        path = Path(text).expanduser().resolve()
        is_study = (path / "zarr.json").is_file() or (
            path.is_file() and path.suffix.lower() == ".zip"
        )
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        return None
    return path if is_study else None


def named(path: Path) -> str | None:
    """What a known study is called."""
    return next((name for name, each in known().items() if each.resolve() == path), None)


def remember(path: Path) -> None:
    """Offer a study on this machine from now on; where nothing can be written, silently not."""
    path = path.resolve()
    if _sample_name(path) is not None or recent()[:1] == [path]:
        return
    others = [each for each in recent() if each != path]
    lines = json.dumps([str(each) for each in (path, *others)][:REMEMBERED], indent=1)
    place = _memory()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=place.parent, delete=False
        ) as file:
            part = Path(file.name)
            try:
                file.write(lines)
                file.flush()
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
    except OSError:
        return


def title(name: str) -> str:
    """What the page calls a study."""
    path = samples().get(name)
    return f"Study {name}" if path is None else _sample_title(path)


@cache
def _sample_title(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("zarr.json"))["attributes"]
    n = len(json.loads(told["settings"])["images"])
    return f"Sample study: {told['model']}, {n} scenes"


def _sample_name(path: Path) -> str | None:
    """The name of a study that comes with headscope, by its place."""
    if path.parent != _SAMPLES or not path.name.endswith(_SUFFIX):
        return None
    return SAMPLE + path.name.removesuffix(_SUFFIX)


def _memory() -> Path:
    """Where the places of studies are kept."""
    home = os.environ.get(HOME)
    state = os.environ.get("XDG_STATE_HOME")
    if home:
        folder = Path(home).expanduser()
    else:
        folder = (
            Path(state).expanduser() if state else Path.home() / ".local" / "state"
        ) / "headscope"
    return folder / "recent-studies.json"


def _is_there(path: Path) -> bool:
    try:
        return path.is_absolute() and path.exists()
    except (OSError, ValueError):
        return False


def _named(paths: list[Path]) -> dict[str, Path]:
    """By the file's name; by the whole path where two have the same name."""
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}
