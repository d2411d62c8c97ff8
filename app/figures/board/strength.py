"""The panel "Strength": where every head looks from a patch, and numbers over layers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float, UInt8

from ..atlas import HeadMetric
from ..strength import Offsets, offsets_of

if TYPE_CHECKING:
    from ....analysis.trends import Trend

EXACT_BYTES = 4_000_000
"""Up to here maps travel as they are; beyond, each cell as one of 254 steps of its colour."""
MOST_BYTES = 20_000_000
"""Of maps in the browser; layers beyond are left out."""
STEPS = 254
"""Of a cell that travels as one byte; 0 is left for what is not there."""

Patch = tuple[float, float]
"""Height and width of the patch that offsets are counted in, in pixels."""


def offset_maps(
    variable: xr.DataArray, n_heads: Sequence[int], patches: Sequence[Patch]
) -> dict[str, Any]:
    """The maps of offsets of all heads, mean over images, layer by layer.

    A layer is None where its patches attend to none on a grid, and `"left out"` once the
    maps before it fill what is sent.
    """
    found = [offsets_of(variable, layer, range(count)) for layer, count in enumerate(n_heads)]
    exact = 4 * sum(each.shares.size for each in found if each) <= EXACT_BYTES
    layers: list[Any] = []
    sent = 0
    for each, patch in zip(found, patches, strict=True):
        size = 0 if each is None else each.shares.size * (4 if exact else 1)
        fits = sent + size <= MOST_BYTES
        sent += size if fits else 0
        layers.append(_layer(each, patch, exact=exact) if fits and each else each and "left out")
    return {"layers": layers, "exact": exact, "bytes": sent, "most": MOST_BYTES}


def offset_maps_of_image(
    variable: xr.DataArray, n_heads: Sequence[int], patches: Sequence[Patch], image: int
) -> list[Any] | None:
    """The same of one image; None where it would double what is already much."""
    cells = variable.sizes["row_offset"] * variable.sizes["column_offset"] * sum(n_heads)
    if 2 * 4 * cells > EXACT_BYTES:
        return None
    found = [
        offsets_of(variable, layer, range(count), image=image)
        for layer, count in enumerate(n_heads)
    ]
    return [
        each and _layer(each, patch, exact=True) for each, patch in zip(found, patches, strict=True)
    ]


def _layer(found: Offsets, patch: Patch, *, exact: bool) -> dict[str, Any]:
    there = np.isfinite(found.shares)
    ends = np.where(there, found.shares, 0).max((1, 2))
    # A head without maps among others that have some keeps its place, with no end of its scale.
    ends = np.where(there.any((1, 2)), ends, np.nan)
    shares = found.shares.astype(np.float32) if exact else steps(found.shares, ends)
    return {
        "rows": found.rows,
        "columns": found.columns,
        "patch_px": [float(side) for side in patch],
        "shares": shares,
        "ends": ends.astype(np.float32),
    }


def steps(
    shares: Float[np.ndarray, "head row column"], ends: Float[np.ndarray, " head"]
) -> UInt8[np.ndarray, "head row column"]:
    """Shares as bytes: 0 is not there, k is end · ((k − 1) / 254)²; even on a square-root scale."""
    safe = np.where(ends > 0, ends, 1)[:, None, None]
    places = np.sqrt(np.clip(np.nan_to_num(shares) / safe, 0, 1)) * STEPS
    return np.where(np.isfinite(shares), 1 + np.round(places), 0).astype(np.uint8)


def trends(
    metrics: Sequence[HeadMetric],
    trend: Callable[[str], "Trend | str"],
    step: Callable[[float], None] = lambda _: None,
) -> list[Mapping[str, Any]]:
    """Each number of attention over layers: mean over heads and images, with its interval.

    `trend` says why where a number has none.
    """
    found: list[Mapping[str, Any]] = []
    for done, metric in enumerate(metrics):
        step(done / len(metrics))
        over = trend(metric.key)
        if isinstance(over, str):
            found.append({"key": metric.key, "reason": over})
            continue
        found.append(
            {
                "key": metric.key,
                "mean": over.mean[0],
                "low": over.low[0],
                "high": over.high[0],
                "n_images": over.n_images[0],
                "confidence": over.confidence,
                "method": over.method,
                "reason": over.reason,
            }
        )
    return found
