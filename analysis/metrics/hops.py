"""Attention by hop: the strength between a patch and its spatial neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import patch_weights


@attention_metric(long_name="Attention by hop", units="share", dims=("hop",))
def hop_share(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to all patches k hops away (k is the Chebyshev distance on the
    grid, 0 the patch itself), mean over patches. With the shares of the prefix tokens the hops sum
    to 1.
    """
    return _sum_by_hop(layer) / layer.queries.n_patches


@attention_metric(long_name="Attention per neighbour by hop", units="share", dims=("hop",))
def hop_mean(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to one patch k hops away, mean over all such pairs: unlike the
    sum per hop it does not grow with the number of neighbours, and patches at the border, which
    have fewer, count as they are.
    """
    pairs = torch.zeros(layer.of.common.n_hops)
    pairs[: layer.layout.n_hops] = torch.from_numpy(layer.layout.pairs_by_hop)
    return _sum_by_hop(layer) / pairs.to(layer.window_weights)


def _sum_by_hop(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    weights, pairs = patch_weights(layer)
    by_head = weights.transpose(1, 2).flatten(2)
    total = by_head.new_zeros(*by_head.shape[:2], layer.of.common.n_hops)
    return total.index_add_(-1, pairs.hop.flatten(), by_head)
