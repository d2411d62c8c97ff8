"""The part of an attention that lies between patches, window by window."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import AttentionLayout, TokenLayout

T = TypeVar("T")


def once_per_layer(function: Callable[[LayerAttention], T]) -> Callable[[LayerAttention], T]:
    """What several metrics of a layer need is computed once, and forgotten with the layer's maps.

    Whoever takes the result must not edit it.
    """

    @wraps(function)
    def kept(layer: LayerAttention) -> T:
        return layer.once(kept, lambda: function(layer))

    return kept


@dataclass(frozen=True)
class PatchPairs:
    """Which query and key patches meet in windows, and how far apart they are."""

    both: Bool[Tensor, "window query key"]
    """Whether query and key are patches."""
    distance: Float[Tensor, "window query key"]
    """Between their centres in input pixels; 0 where one is no patch."""
    hop: Int[Tensor, "window query key"]
    """Chebyshev distance in patches of the coarser grid; 0 where one is no patch."""
    query: Bool[Tensor, "window query"]
    """Whether the query is a patch."""
    offset: Int[Tensor, "2 window query key"]
    """Rows and columns from the query to the key, in patches of the coarser grid; 0 where one is no
    patch. Of patches on no grid they say nothing (`AttentionLayout.coarse_reach` is then 0)."""


@lru_cache(maxsize=32)
def patch_pairs(layout: AttentionLayout, device: torch.device, dtype: torch.dtype) -> PatchPairs:
    """The pairs of a layout, where the maps are and as precise."""
    query, of_query = patches_of(layout.queries, layout.query_tokens)
    key, of_key = patches_of(layout.keys, layout.key_tokens)
    both = query[:, :, None] & key[:, None, :]
    if layout.queries.n_patches and layout.keys.n_patches:
        # Window by window: between all patches there are far more pairs than ever meet.
        places = layout.queries.centres[of_query], layout.keys.centres[of_key]
        offset = places[0][:, :, None] - places[1][:, None]
        distance = np.where(both, np.sqrt((offset**2).sum(-1)), 0.0)
        cells = [of[at] for of, at in zip(layout.coarse_cells, (of_query, of_key), strict=True)]
        apart = np.moveaxis(cells[1][:, None] - cells[0][:, :, None], -1, 0)
        apart = np.where(both, apart, 0)
        hop = np.abs(apart).max(0)
    else:
        distance, hop = np.zeros(both.shape), np.zeros(both.shape, int)
        apart = np.zeros((2, *both.shape), int)
    return PatchPairs(
        torch.from_numpy(both).to(device),
        torch.from_numpy(distance).to(device, dtype),
        torch.from_numpy(hop).to(device),
        torch.from_numpy(query).to(device),
        torch.from_numpy(apart.astype(np.int32)).to(device),
    )


@once_per_layer
def patch_weights(
    layer: LayerAttention,
) -> tuple[Float[Tensor, "image window head query key"], PatchPairs]:
    """Attention of patches on patches (0 elsewhere), and what is known of the pairs."""
    weights = layer.window_weights
    pairs = patch_pairs(layer.layout, weights.device, weights.dtype)
    return weights * pairs.both[:, None], pairs


@once_per_layer
def maps_of(layer: LayerAttention) -> Float[Tensor, "image window head query key"]:
    """Attention window by window, at least in float32: half precision is too coarse for sums."""
    weights = layer.window_weights
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def tokens_of_kind(
    layout: TokenLayout, tokens: Int[np.ndarray, "window token"], kind: str, device: torch.device
) -> Bool[Tensor, "window token"]:
    """Where tokens of one kind stand in windows; -1 is none."""
    of_kind = np.append(np.array(layout.kinds) == kind, [False])
    return torch.from_numpy(of_kind[tokens]).to(device)


def patches_of(layout: TokenLayout, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the tokens in windows are patches, and which patch (0 for the others)."""
    patch = np.append(np.where(layout.is_patch, np.cumsum(layout.is_patch) - 1, -1), -1)[tokens]
    return patch >= 0, np.maximum(patch, 0)
