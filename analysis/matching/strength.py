"""Heads that look as far, as widely and in the same direction, image by image."""

from typing import Any

import numpy as np
from jaxtyping import Float

from .distances import distances, similarity
from .sides import NotThere, Side

POINTS = 33
"""At which the shares of attention within a distance are compared."""
SCALARS = (
    "distance",
    "entropy_share",
    "nmi",
    "directionality",
    "self_share",
    "sink_concentration",
    "value_norm_ratio",
)
"""Numbers that mean the same whatever the number of tokens; distances are brought to shares of the
image's diagonal. Each counts as much as one of the curves."""
RATIOS = ("sink_concentration",)
"""Of these, from 1 without an upper end, the logarithm; an infinite one does not count."""

Numbers = dict[str, Float[np.ndarray, "image head entry"]]


def strength(
    first: Side, second: Side
) -> tuple[Float[np.ndarray, "pair_head pair_head"], tuple[str, ...]]:
    """Similarity of all heads of both by how they look, and what it was told by.

    Curves: the share of the attention between patches that goes at most so far (hops), and at most
    so far down or right of the query (offsets), with distances as shares of the image's side, so
    that grids and image sizes may differ; the share of a query's attention for each kind of token;
    and `SCALARS`. Of each, the squared distance between heads, image by image, as a share of what
    it is on average over all pairs of heads (`distances`). The concentration of sinks is compared
    by its logarithm: a ratio, which a single head may have a thousand times as large.

    Raises:
        NotThere: the studies have none of these in common.
    """
    sides = [side.once("strength", lambda s=side: numbers(s)) for side in (first, second)]
    common = [name for name in sides[0] if name in sides[1]]
    parts = {name: distances([side[name] for side in sides]) for name in common}
    told = tuple(name for name, part in parts.items() if np.isfinite(part).any())
    if not told:
        raise NotThere(
            "the studies have none of the numbers of how heads look in common, or all heads are "
            "alike by them"
        )
    return similarity([parts[name] for name in told]), told


def numbers(side: Side) -> Numbers:
    """What heads are compared by, by name."""
    data = side.study.data
    found: Numbers = {}
    if "hop_share" in data:
        found["hops"] = _within(_values(side, "hop_share", "hop"), _hop_edges(side))
    if "offset_map" in data:
        maps = _values(side, "offset_map", "row_offset", "column_offset")
        for axis, name in ((0, "offsets down"), (1, "offsets right")):
            other = np.nansum(maps, axis=3 - axis)
            found[name] = _within(other, _offset_edges(side, axis))
    for kind in _kinds(data):
        share = data["share"].sel(query_kind="patch", key_kind=kind)
        found[f"share for {kind}"] = side.of_heads(share)[..., None]
    diagonal = float(np.hypot(data.sizes["row"], data.sizes["column"]))
    for name in SCALARS:
        if name in data and set(data[name].dims) == {"image", "layer", "head"}:
            in_px = data[name].attrs.get("units") == "px"
            values = _values(side, name)[..., None] / (diagonal if in_px else 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                found[name] = np.log(values) if name in RATIOS else values
    return found


def _kinds(data: Any) -> list[str]:
    if "share" not in data or "patch" not in data["share"]["query_kind"].values:
        return []
    return [str(kind) for kind in data["share"]["key_kind"].values]


def _values(side: Side, name: str, *dims: str) -> Float[np.ndarray, "image head ..."]:
    return side.of_heads(side.study.data[name], *dims)


def _patch(side: Side) -> Float[np.ndarray, "head 2"]:
    """Height and width of a step of each head's layer, as shares of the image's sides."""
    data = side.study.data
    size = np.array([data.sizes["row"], data.sizes["column"]], float)
    of_layer = [
        np.maximum(layer.queries.patch_px, layer.keys.patch_px) / size
        for layer in side.study.layer_layouts
    ]
    return np.array(of_layer)[side.heads[:, 0]]


def _hop_edges(side: Side) -> Float[np.ndarray, "head edge"]:
    """Where hops end: hop k holds the distances up to k + ½ patches."""
    n = side.study.data.sizes["hop"]
    return np.maximum(np.arange(n + 1) - 0.5, 0) * _patch(side).max(1)[:, None]


def _offset_edges(side: Side, axis: int) -> Float[np.ndarray, "head edge"]:
    values = side.study.data[("row_offset", "column_offset")[axis]].values
    return (np.append(values, values[-1] + 1) - 0.5) * _patch(side)[:, axis][:, None]


def _within(
    mass: Float[np.ndarray, "image head bin"],
    edges: Float[np.ndarray, "head edge"],
) -> Float[np.ndarray, "image head point"]:
    """Share of the mass up to each of `POINTS` distances; NaN where there is no mass.

    Within a bin it is spread evenly, so that bins of different grids have numbers in common.
    """
    mass = np.nan_to_num(mass)
    total = mass.sum(-1)
    low = -1.0 if edges.min() < 0 else 0.0
    points = np.linspace(low, 1.0, POINTS)
    sums = np.concatenate([np.zeros((*mass.shape[:2], 1)), mass.cumsum(-1)], -1)
    found = np.empty((*mass.shape[:2], POINTS))
    for head in range(mass.shape[1]):
        # Where each point lies between which edges: linear between the two sums.
        at = np.clip(np.searchsorted(edges[head], points, "right") - 1, 0, edges.shape[1] - 2)
        width = edges[head][at + 1] - edges[head][at]
        part = np.clip((points - edges[head][at]) / width, 0, 1)
        found[:, head] = sums[:, head, at] * (1 - part) + sums[:, head, at + 1] * part
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[..., None] > 1e-6, found / total[..., None], np.nan)
