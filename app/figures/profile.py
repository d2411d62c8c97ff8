"""The hop profile: how much attention goes how far, for every head."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from .encode import PATCH, mean_over_images, plain
from .layers import LayerSides


def payload(
    data: xr.Dataset,
    image: int,
    n_heads: tuple[int, ...],
    layers: Sequence[LayerSides],
    among: Sequence[int] = (),
) -> dict[str, Any] | None:
    """Attention of patch queries by hop, and on each kind of key that is no patch.

    The sums over hops and over other kinds of key together are 1. Each layer has its own hops and
    kinds of key; layers in which no patch attends have none. The mean is over the images `among`,
    all where there is none. None for a study without the numbers.
    """
    names = ("share", "hop_share", "hop_mean")
    if any(name not in data for name in names) or PATCH not in data["query_kind"].values:
        return None
    kinds = [str(kind) for kind in data["key_kind"].values if kind != PATCH]
    order = ("image", "layer", "head")
    shares = data["share"].sel(query_kind=PATCH, key_kind=kinds)
    arrays = {
        "prefix": shares.transpose(*order, "key_kind").values.astype(float),
        "hop_sum": data["hop_share"].transpose(*order, "hop").values.astype(float),
        "hop_mean": data["hop_mean"].transpose(*order, "hop").values.astype(float),
    }

    def numbers(of: Any) -> dict[str, Any]:
        return {name: plain(of(values), n_heads) for name, values in arrays.items()}

    return {
        "kinds": kinds,
        "prefix": [
            [
                {"at": at, "kind": kind, "tokens": layer.keys.kinds.count(kind)}
                for at, kind in enumerate(kinds)
                if kind in layer.keys.kinds
            ]
            for layer in layers
        ],
        "hops": [
            _n_hops(layer, arrays["hop_mean"][:, index]) for index, layer in enumerate(layers)
        ],
        "image": numbers(lambda values: values[image]),
        "mean": numbers(lambda v: mean_over_images(v[list(among)] if len(among) else v)),
    }


def _n_hops(layer: LayerSides, hop_mean: Float[np.ndarray, "image head hop"]) -> int:
    """Hops of a layer; 0 where no patch attends to patches. No pair is further apart: NaN."""
    if not layer.queries.n_patches or not layer.keys.n_patches:
        return 0
    there = np.flatnonzero(np.isfinite(hop_mean).any((0, 1)))
    return int(there[-1]) + 1 if len(there) else 0
