"""Attention by hop: the strength between a patch and its spatial neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import hops, patch_weights


@attention_metric(long_name="Attention by hop", units="share", dims=("hop",))
def hop_share(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to all patches k hops away (k is the Chebyshev distance on the
    grid, 0 the patch itself), mean over patches. With the shares of the prefix tokens the hops sum
    to 1.
    """
    return _sum_by_hop(layer) / layer.layout.n_patches


@attention_metric(long_name="Attention per neighbour by hop", units="share", dims=("hop",))
def hop_mean(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to one patch k hops away, mean over all such pairs: unlike the
    sum per hop it does not grow with the number of neighbours, and patches at the border, which
    have fewer, count as they are.
    """
    index = hops(layer.layout, layer.weights.device).flatten()
    return _sum_by_hop(layer) / torch.bincount(index, minlength=layer.layout.n_hops)


def _sum_by_hop(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    weights = patch_weights(layer).flatten(-2)
    index = hops(layer.layout, weights.device).flatten()
    total = weights.new_zeros(*weights.shape[:-1], layer.layout.n_hops)
    return total.index_add_(-1, index, weights)
