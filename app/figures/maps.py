"""Attention maps and the pixels under them, as bytes for the browser."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from .encode import frame

MOST_BYTES = 16_000_000
"""Maps of all heads go to the browser at once up to this size; above, those that are asked for."""


def fits(weights: UInt8[np.ndarray, "layer head query key"]) -> bool:
    """Whether the maps of all heads are sent at once."""
    return weights.nbytes <= MOST_BYTES


def feed(
    *,
    name: str,
    n_heads: Sequence[int],
    pixels: UInt8[np.ndarray, "row column 3"],
    weights: UInt8[np.ndarray, "layer head query key"],
    row_max: Float[np.ndarray, "layer head query"],
    wanted: tuple[int, int, int] | None = None,
) -> bytes:
    """All maps where they fit; else those of the `wanted` (layer, head, query), if any.

    Those are the head's map and, for the small multiples, the query's row in every head.
    """
    chosen: dict[str, np.ndarray] = {}
    if fits(weights):
        chosen["all"] = weights
    elif wanted is not None:
        layer, head, query = wanted
        chosen[f"head {layer} {head}"] = weights[layer, head]
        chosen[f"query {query}"] = weights[:, :, query]
    parts: list[bytes] = []

    def place(array: np.ndarray) -> dict[str, int]:
        parts.append(np.ascontiguousarray(array).tobytes())
        return {"offset": sum(map(len, parts[:-1])), "size": len(parts[-1])}

    height, width = pixels.shape[:2]
    header: dict[str, Any] = {
        "id": name,
        "n_heads": list(n_heads),
        "n_tokens": weights.shape[-1],
        "pixels": {**place(pixels), "height": height, "width": width},
        "row_max": place(row_max.astype("<f4")),
        "slabs": [{"name": key, **place(array)} for key, array in chosen.items()],
    }
    return frame(header, parts)
