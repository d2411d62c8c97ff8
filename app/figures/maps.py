"""Attention maps and the pixels under them, as bytes for the browser."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from .encode import frame

if TYPE_CHECKING:
    from ...analysis.maps import AttentionMaps, LayerMaps

MOST_BYTES = 16_000_000
"""Maps of all heads go to the browser at once up to this size; above, those that are asked for."""


def fits(maps: "AttentionMaps") -> bool:
    """Whether the maps of all heads are sent at once."""
    return maps.is_whole and maps.n_bytes <= MOST_BYTES


def feed(
    *,
    name: str,
    pixels: UInt8[np.ndarray, "row column 3"],
    maps: "AttentionMaps",
    layer: int | None = None,
    head: int | None = None,
    tokens: tuple[int | None, ...] = (),
) -> bytes:
    """All maps where they fit; else the map of the head, if any, and the rows of the tokens.

    `tokens` are, for each layer, the query whose attention in every head is wanted for the small
    multiples; None: nothing beyond the mean over queries, which is always sent.
    """
    parts: list[bytes] = []
    at = 0

    def place(array: np.ndarray) -> dict[str, int]:
        nonlocal at
        parts.append(np.ascontiguousarray(array).tobytes())
        at += len(parts[-1])
        return {"offset": at - len(parts[-1]), "size": len(parts[-1])}

    def slab(array: np.ndarray, scale: np.ndarray, **of: int | None) -> dict[str, Any]:
        return {**of, "weights": place(array), "scale": place(scale.astype("<f4"))}

    slabs: list[dict[str, Any]] = []
    if fits(maps):
        slabs += [slab(of.weights, of.row_max, layer=i) for i, of in enumerate(maps.layers)]
    else:
        if layer is not None and head is not None:
            of = maps.layers[layer]
            row = of.heads.index(head)
            slabs.append(slab(of.weights[row], of.row_max[row], layer=layer, head=head))
        slabs += [
            slab(*_in_bytes(of.row(token)), layer=i, token=token)
            for i, (of, token) in enumerate(zip(maps.layers, tokens, strict=False))
            if token is not None
        ]
    tables: dict[Any, int] = {}
    windows: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for of in maps.layers:
        key = _table_key(of)
        if key not in tables:
            tables[key] = len(windows)
            windows.append(_table(of, place))
        mean = place(of.mean.astype("<f4"))
        layers.append({"table": tables[key], "keys": of.mean.shape[1], "mean": mean})
    height, width = pixels.shape[:2]
    header: dict[str, Any] = {
        "id": name,
        "pixels": {**place(pixels), "height": height, "width": width},
        "tables": windows,
        "layers": layers,
        "slabs": slabs,
    }
    return frame(header, parts)


def _table_key(of: "LayerMaps") -> Any:
    """Equal for layers with the same windows."""
    queries, keys = of.layout.query_tokens, of.layout.key_tokens
    return queries.shape, keys.shape, queries.tobytes(), keys.tobytes()


def _table(of: "LayerMaps", place: Any) -> dict[str, Any]:
    """Which tokens the windows of a layer hold; nothing where one window holds all in order."""
    queries, keys = of.layout.query_tokens, of.layout.key_tokens
    sizes = {"windows": len(queries), "queries": queries.shape[1], "keys": keys.shape[1]}
    if of.layout.is_dense:
        return sizes
    return {
        **sizes,
        "query_tokens": place(queries.astype("<i4")),
        "key_tokens": place(keys.astype("<i4")),
    }


def _in_bytes(
    rows: Float[np.ndarray, "head key"],
) -> tuple[UInt8[np.ndarray, "head key"], Float[np.ndarray, " head"]]:
    largest = rows.max(-1)
    scaled = rows / np.maximum(largest, np.finfo(np.float32).tiny)[:, None] * 255
    return scaled.round().astype(np.uint8), largest
