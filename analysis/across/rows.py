"""A few rows of each head's map, so that what is kept does not grow with the grid."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import PATCH, AttentionLayout, TokenLayout

AT_MOST = 64
"""Queries of a layer that are looked at."""


def some_queries(tokens: TokenLayout, at_most: int = AT_MOST) -> Int[np.ndarray, " query"]:
    """Patches, evenly spread in row-major order; all kinds of token where there is no patch."""
    there = tokens.tokens(PATCH) if tokens.n_patches else np.arange(tokens.n_tokens)
    places = np.linspace(0, len(there) - 1, min(len(there), at_most))
    return there[places.round().astype(int)]


def rows_of(
    layer: LayerAttention, queries: Int[np.ndarray, " query"]
) -> Float[Tensor, "image head query key"]:
    """The rows of some queries in the maps between all tokens, `LayerAttention.weights`.

    The whole maps are not made: in windows they are nearly all zeros.
    """
    chosen = tuple(queries.tolist())
    return torch.cat([_rows(image, chosen) for image in layer.images])


def _rows(layer: LayerAttention, queries: tuple[int, ...]) -> Float[Tensor, "i head query key"]:
    weights = layer.window_weights
    if layer.layout.is_dense:
        return weights[:, 0][:, :, torch.tensor(queries, device=weights.device)]
    window, slot, index = _places(layer.layout, queries, weights.device)
    found = weights.transpose(1, 2)[:, :, window, slot]
    n_keys = layer.keys.n_tokens
    rows = weights.new_zeros(*found.shape[:2], len(queries) * n_keys)
    rows.index_add_(2, index, found.flatten(2))
    return rows.unflatten(2, (len(queries), n_keys))


@lru_cache(maxsize=64)
def _places(
    layout: AttentionLayout, queries: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Windows and places in them where the queries stand, and where their weights go in rows."""
    found = [np.argwhere(layout.query_tokens == query) for query in queries]
    window, slot = np.concatenate(found).T
    row = np.repeat(np.arange(len(queries)), [len(each) for each in found])
    index = row[:, None] * layout.keys.n_tokens + layout.key_tokens[window]
    of_rows, of_slots, flat = (torch.from_numpy(each) for each in (window, slot, index.reshape(-1)))
    return of_rows.to(device), of_slots.to(device), flat.to(device)
