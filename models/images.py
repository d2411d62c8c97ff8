"""Photographs: any image file, PIL image or array, as upright 8-bit RGB."""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from .errors import HeadscopeError
from .pixels import array_pixels, decode, image_suffixes

MAX_BYTES = 1_000_000_000
"""Largest file that is read, bytes."""


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, an upload: whatever has bytes to read."""

    def read(self) -> bytes: ...


ImageSource = str | Path | bytes | bytearray | BinaryFile | Image.Image | NDArray[Any]
"""What `read_image` takes; a `str` is a path."""
_ONE = (str, Path, bytes, bytearray, BinaryFile, Image.Image, np.ndarray)
"""The same for `isinstance`: most of them could be iterated over, and mean one image."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """An image as it was given: upright, 8-bit RGB, not yet cropped to any model's input."""

    name: str
    """The file's name, or what the caller called it."""
    pixels: UInt8[np.ndarray, "row column 3"]
    """Read-only."""
    digest: str
    """SHA-256 of the file's bytes, as hex; of shape and pixels where there is no file."""
    path: Path | None
    """Where it was read from, if it was a file on disk."""
    notes: tuple[str, ...]
    """What was done to it, in words for the user: "turned upright", "first of 12 frames"."""


def read_image(source: ImageSource, *, name: str | None = None) -> Photograph:
    """The photograph in a file, an open file, its bytes, a PIL image or an array.

    Arrays are `row, column` or `row, column, channel` with 1, 3 or 4 channels: uint8, bool, uint16
    (0…65535), other integers in 0…255 or floats in 0…1. Raises `HeadscopeError` for what is not an
    image, is cut short, or is too large or too long (`MAX_BYTES`, `pixels.MAX_PIXELS`,
    `pixels.MAX_ASPECT`).
    """
    if isinstance(source, np.ndarray):
        label = name or "array"
        return _photograph(label, *array_pixels(source, label))
    if isinstance(source, Image.Image):
        label = name or Path(str(getattr(source, "filename", ""))).name or "image"
        return _photograph(label, *decode(source, label))
    path = None
    if isinstance(source, str | Path):
        path = Path(source)
        label, data = name or path.name, _read_file(path)
    elif isinstance(source, bytes | bytearray):
        label, data = name or "image", bytes(source)
    elif isinstance(source, BinaryFile):
        given = getattr(source, "name", None)
        label = name or (Path(given).name if isinstance(given, str) else "image")
        data = source.read()
        if not isinstance(data, bytes):
            raise HeadscopeError(f'{label} is open as text: open it in binary mode, "rb".')
    else:
        raise HeadscopeError(
            f"Cannot read an image from {type(source).__name__}: "
            "give a path, bytes, a binary file, a PIL image or a numpy array."
        )
    if not data:
        raise HeadscopeError(f"{label} is empty (0 bytes): give the file that has the image in it.")
    return _photograph(label, *decode(data, label), path=path, data=data)


def one_or_many(
    images: ImageSource | Photograph | Iterable[ImageSource | Photograph],
) -> list[ImageSource | Photograph]:
    """Images as a list: a single one is not taken apart into rows, letters or bytes."""
    if isinstance(images, (Photograph, *_ONE)):
        return [images]
    return list(images)


def find_images(patterns: Iterable[str | Path]) -> tuple[Path, ...]:
    """Image files that files, folders (with all their sub-folders) and globs stand for, each once.

    A file that is named is taken whatever it is called. In folders and globs the suffix decides,
    hidden files are left out, and the order is natural: `cat2.png` before `cat10.png`. Raises
    `HeadscopeError` for a pattern that finds nothing.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        if not str(pattern):  # Path("") would be the current folder
            raise HeadscopeError('"" names no file: give an image, a folder or a glob.')
        for path in _find(Path(pattern)):
            found.setdefault(path.resolve(), path)
    return tuple(found.values())


def _find(pattern: Path) -> Iterator[Path]:
    try:
        if pattern.is_dir():
            found = _walk(pattern)
        elif pattern.exists():
            return iter([pattern])
        elif glob.has_magic(str(pattern)):
            found = sorted(filter(_is_image, map(Path, _glob(pattern))), key=_natural)
        else:
            raise HeadscopeError(f"There is no file or folder {pattern}: check the path.")
    except OSError as error:
        raise HeadscopeError(f"Cannot look for images in {pattern}: {error.strerror}.") from error
    if not found:
        what = "the folder" if pattern.is_dir() else "the files matching"
        raise HeadscopeError(
            f"No image in {what} {pattern}: expected files such as .jpg, .png, .webp or .tif."
        )
    return iter(found)


def _glob(pattern: Path) -> list[str]:
    return glob.glob(str(pattern), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute one)


def _walk(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [f for f in folders if not f.startswith(".")]
        found += [p for p in (Path(root, f) for f in files) if _is_image(p)]
    return sorted(found, key=lambda path: _natural(path.relative_to(folder)))


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in image_suffixes() and path.is_file()


def _natural(path: Path) -> list[list[str | int]]:
    """Sorts by part, and digits by value; `re.split` puts text and digits in turn."""
    return [
        [int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"(\d+)", part.lower()))]
        for part in path.parts
    ]


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "a device or a pipe"
            raise HeadscopeError(f"{path} is {kind}: give an image file.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise HeadscopeError(
                f"{path} has {size:,} bytes, and at most {MAX_BYTES:,} are read: make it smaller."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise HeadscopeError(f"There is no file {path}: check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise HeadscopeError(f"Cannot read {path}: {reason}.") from error


def _photograph(
    label: str,
    pixels: NDArray[np.uint8],
    notes: list[str],
    *,
    path: Path | None = None,
    data: bytes | None = None,
) -> Photograph:
    if pixels.shape[:2] == (1, 1):
        notes.append("a single pixel: the model sees one flat colour")
    digest = hashlib.sha256(repr(pixels.shape).encode() if data is None else data)
    if data is None:
        digest.update(pixels.tobytes())
    pixels.flags.writeable = False
    return Photograph(label, pixels, digest.hexdigest(), path, tuple(notes))
