"""Nested values with arrays in them as one bytes object, which `unpack.js` opens."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .encode import frame

KINDS = {"float32": np.float32, "int32": np.int32, "uint8": np.uint8}
"""Types of the numbers that travel, which are also typed arrays in the browser."""


def pack(content: Any) -> bytes:
    """Plain values and arrays, as bytes.

    An array becomes `{"$array": [offset, length, kind], "shape": […]}` in the header; floats travel
    as float32 (NaN stays), integers as int32, bytes as they are.
    """
    parts: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            offset = sum(map(len, parts))
            kind, data = _bytes_of(value)
            parts.append(data + bytes(-len(data) % 4))  # typed arrays begin at multiples of 4
            return {"$array": [offset, len(data), kind], "shape": list(value.shape)}
        if isinstance(value, Mapping):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        if isinstance(value, np.generic):
            return value.item()
        return value

    return frame(plain(content), parts)


def _bytes_of(values: np.ndarray) -> tuple[str, bytes]:
    if values.dtype == np.uint8:
        kind = "uint8"
    else:
        kind = "float32" if np.issubdtype(values.dtype, np.floating) else "int32"
    return kind, np.ascontiguousarray(values, KINDS[kind]).tobytes()


def n_bytes(content: Any) -> int:
    """Of the arrays in nested values."""
    if isinstance(content, np.ndarray):
        return content.nbytes
    if isinstance(content, Mapping):
        return sum(map(n_bytes, content.values()))
    return sum(map(n_bytes, content)) if isinstance(content, (list, tuple)) else 0
