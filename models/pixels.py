"""What PIL and numpy hold, as upright 8-bit RGB, with a note of everything that was done."""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import HeadscopeError

MAX_PIXELS = 80_000_000
"""Largest image that is decoded, px: every camera's single shot, and 240 MB as RGB."""

MAX_ASPECT = 100
"""Largest ratio of the sides: models enlarge the shorter one to their input size."""

_NOT_DECODED = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
"""PIL's formats that start another program (EPS: Ghostscript) or that it only recognises."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation; 1 is upright already."""

_ORIENTATION = 0x0112

_warnings_lock = threading.Lock()


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of the files that can be read, in lower case: ".jpg", ".png", …"""
    formats = set(_formats())
    return frozenset(s for s, f in Image.registered_extensions().items() if f in formats)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(f for f in Image.OPEN if f not in _NOT_DECODED)


def decode(source: bytes | Image.Image, label: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Pixels `row, column, 3` and notes of an image file's bytes or of a PIL image.

    The size is read from the header and checked before a pixel is decoded. Raises `HeadscopeError`
    with a sentence that begins with `label`.
    """
    with _pil_quiet():
        if isinstance(source, Image.Image):
            return _decode(source, label)
        with _open(source, label) as image:
            return _decode(image, label)


def array_pixels(array: NDArray[Any], label: str) -> tuple[NDArray[np.uint8], list[str]]:
    """Pixels `row, column, 3` and notes of an array `row, column` or `row, column, channel`."""
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise HeadscopeError(
            f"{label} has the shape {array.shape}, expected (row, column) or (row, column, channel)"
            " with 1, 3 or 4 channels: transpose or split it."
        )
    _check_size(array.shape[0], array.shape[1], label)
    notes: list[str] = []
    kind = array.dtype.kind
    if kind not in "buif":
        raise HeadscopeError(f"{label} holds {array.dtype} values, expected numbers: use uint8.")
    low, high = array.min(), array.max()
    if kind == "b":
        array = array * np.uint8(255)
    elif kind == "u" and array.dtype.itemsize == 2:
        notes.append("16 bits per channel, reduced to 8")
        array = np.rint(array / np.float32(257))
    elif kind == "f" and low >= 0 and high <= 1:
        array = np.rint(array * np.float32(255))
    elif kind == "f" or low < 0 or high > 255:
        raise HeadscopeError(
            f"{label} holds {array.dtype} values from {low:.6g} to {high:.6g}, expected integers "
            "in 0…255, uint16, or floats in 0…1: scale it first."
        )
    pixels = array.astype(np.uint8, order="C")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(pixels), notes).convert("RGB")), notes
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        notes.append("grey, the same in all three channels")
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2), notes
    return pixels, notes


@contextmanager
def _pil_quiet() -> Iterator[None]:
    """PIL warns of corrupt EXIF and of large images: both are told in our own words.

    The filters are global: hence the lock, and only PIL's modules are hushed.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _open(data: bytes, label: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError as error:
        raise _too_large(label, f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,}") from error
    except Image.UnidentifiedImageError as error:
        raise HeadscopeError(
            f"{label} is not an image that can be read: "
            "give a JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF file."
        ) from error
    except Exception as error:  # a broken header makes PIL's readers raise whatever they like
        raise _damaged(label) from error


def _decode(image: Image.Image, label: str) -> tuple[NDArray[np.uint8], list[str]]:
    _check_size(image.height, image.width, label)
    notes: list[str] = []
    deep = any(re.search(r";16[BLN]", str(tile[3])) for tile in getattr(image, "tile", ()))
    try:
        # A JPEG of several pictures (MPO) holds the photograph first, then previews or depth.
        n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        frame = image.tell()
        orientation = _orientation(image, notes)
        image.load()
    except Exception as error:  # as above: PIL has no one exception for a damaged file
        raise _damaged(label) from error
    if n_frames > 1:
        place = "first" if frame == 0 else f"number {frame + 1}"
        notes.append(f"{place} of {n_frames} frames")
    if orientation in _UPRIGHT:
        notes.append("turned upright")
        still = _orientation(image, [])  # PIL turns a TIFF itself when it loads
        if still in _UPRIGHT:
            image = image.transpose(_UPRIGHT[still])
    return _as_rgb(image, label, notes, deep=deep), notes


def _orientation(image: Image.Image, notes: list[str]) -> int | None:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF costs the orientation, not the image
        notes.append("its EXIF data is damaged, so it may not be upright")
        return None


def _as_rgb(image: Image.Image, label: str, notes: list[str], *, deep: bool) -> NDArray[np.uint8]:
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        values = np.asarray(image)
        clear = image.info.get("transparency")
        image = Image.fromarray(_eight_bit(values, label, notes))
        if isinstance(clear, int):
            image.putalpha(Image.fromarray(np.uint8(255) * (values != clear)))
    elif deep:  # PIL has kept the upper byte of each: at most one level from a division by 257
        notes.append("16 bits per channel, reduced to 8")
    if mode in {"1", "L", "LA", "La", "F"} or mode.startswith("I"):
        notes.append("grey, the same in all three channels")
    if mode == "CMYK":
        notes.append("converted from CMYK, without its colour profile")
    if image.has_transparency_data:
        image = _on_white(image.convert("RGBA"), notes)
    return np.array(image.convert("RGB"))


def _on_white(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image
    notes.append("transparent, put on white")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _eight_bit(values: NDArray[Any], label: str, notes: list[str]) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits, as PIL reads them, in 8 bits (PIL itself would clip them).

    16 bits are divided by 257, so that black stays black and white stays white. Of 32-bit values no
    range is known: integers that fit in 8 or 16 bits and floats in 0…1 are taken as such, all
    others are stretched from their lowest to their highest.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise HeadscopeError(f"{label} has no finite pixel: export it again, as 8-bit PNG.")
    if not finite.all():
        notes.append("pixels that are not numbers, taken as the darkest")
    low, high = values[finite].min(), values[finite].max()
    is_float = values.dtype.kind == "f"
    if is_float and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif not is_float and low >= 0 and high <= 255 and values.dtype.itemsize == 4:
        return values.astype(np.uint8)
    elif not is_float and low >= 0 and high <= 65_535:
        notes.append("16 bits per channel, reduced to 8")
        low, high = 0, 65_535
    else:
        notes.append(f"values from {low:.6g} to {high:.6g}, stretched from black to white")
    scale = 255 / (float(high) - float(low) or 1)
    scaled = (np.where(finite, values, low).astype(np.float32) - np.float32(low)) * scale
    return np.rint(scaled).astype(np.uint8)


def _check_size(height: int, width: int, label: str) -> None:
    if not height or not width:
        raise HeadscopeError(f"{label} is {height}×{width} px: give an image with pixels in it.")
    if height * width > MAX_PIXELS:
        raise _too_large(label, f"{height * width:,} ({width}×{height})")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise HeadscopeError(
            f"{label} is {width}×{height} px, one side more than {MAX_ASPECT} times the other: "
            "cut out the part to look at."
        )


def _too_large(label: str, pixels: str) -> HeadscopeError:
    return HeadscopeError(
        f"{label} has {pixels} pixels, and at most {MAX_PIXELS:,} are read: make it smaller."
    )


def _damaged(label: str) -> HeadscopeError:
    return HeadscopeError(
        f"{label} is cut short or damaged, so not all of its pixels can be read: "
        "copy or download it again."
    )
