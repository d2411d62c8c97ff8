"""Arrays as the browser takes them: plain numbers, or raw bytes behind a JSON header."""

import base64
import io
import json
import struct
from collections.abc import Mapping, Sequence
from csv import DictWriter
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

PATCH = "patch"
"""The kind of a token that has a place in the image."""


def mean_over_images(values: Float[np.ndarray, "image ..."]) -> Float[np.ndarray, "..."]:
    """Mean over the images that have a value; NaN where none has."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def plain(values: Float[np.ndarray, "layer head ..."], n_heads: Sequence[int]) -> list[Any]:
    """Nested lists `[layer][head]…` without the padding; None for NaN; 6 significant digits."""
    return [_numbers(values[layer, :count]) for layer, count in enumerate(n_heads)]


def _numbers(values: Float[np.ndarray, "*rest"]) -> list[Any]:
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    # JSON has no NaN, and a float32 written out in full doubles the size of the message.
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def frame(header: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """One bytes object: little-endian uint32 length of the header, the header, the parts."""
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + b"".join(parts)


def thumbnail(pixels: UInt8[np.ndarray, "row column 3"], *, side: int = 96) -> str:
    """A small square picture as a data URL, cut from the middle."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = Image.fromarray(pixels[top : top + short, left : left + short])
    square = square.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table with a header; what has no number is left empty."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value != value else value for key, value in row.items()})
    return text.getvalue()
