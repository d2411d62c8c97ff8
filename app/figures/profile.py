"""The hop profile: how much attention goes how far, for every head."""

from typing import Any

import numpy as np
import xarray as xr

from .encode import PATCH, mean_over_images, plain


def payload(
    data: xr.Dataset, image: int, n_heads: tuple[int, ...], kinds: tuple[str, ...]
) -> dict[str, Any] | None:
    """Attention of patch queries by hop, and on each kind of prefix token.

    The sums over hops and over prefix tokens together are 1. `kinds` are the kinds of all tokens.
    None for a study without these numbers.
    """
    if "hop_share" not in data or "share" not in data:
        return None
    prefix = [str(kind) for kind in data["key_kind"].values if kind != PATCH]
    order = ("image", "layer", "head")
    shares = data["share"].sel(query_kind=PATCH, key_kind=prefix)
    arrays = {
        "prefix": shares.transpose(*order, "key_kind").values.astype(float),
        "hop_sum": data["hop_share"].transpose(*order, "hop").values.astype(float),
        "hop_mean": data["hop_mean"].transpose(*order, "hop").values.astype(float),
    }

    def numbers(of: Any) -> dict[str, Any]:
        return {name: plain(of(values), n_heads) for name, values in arrays.items()}

    return {
        "prefix": [{"kind": kind, "tokens": kinds.count(kind)} for kind in prefix],
        "hops": np.arange(data.sizes["hop"]).tolist(),
        "image": numbers(lambda values: values[image]),
        "mean": numbers(mean_over_images),
    }
