"""The part of an attention map that lies between patches."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import PATCH, TokenLayout


def patch_weights(layer: LayerAttention) -> Float[Tensor, "image head patch patch"]:
    """Attention of patch queries on patch keys; rows sum to what the prefix tokens leave."""
    tokens = token_indices(layer.layout, PATCH, layer.weights.device)
    return layer.weights[:, :, tokens][..., tokens]


@lru_cache(maxsize=16)
def token_indices(layout: TokenLayout, kind: str, device: torch.device) -> Int[Tensor, " token"]:
    """Indices of the tokens of one kind, where the maps are."""
    return torch.from_numpy(layout.tokens(kind)).to(device)


@lru_cache(maxsize=4)
def distances(
    layout: TokenLayout, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "patch patch"]:
    """Distances between patches in px, where the maps are and as precise."""
    return torch.from_numpy(layout.distances).to(device, dtype)


@lru_cache(maxsize=4)
def hops(layout: TokenLayout, device: torch.device) -> Int[Tensor, "patch patch"]:
    """Hops between patches, where the maps are."""
    return torch.from_numpy(layout.hops).to(device)
