"""Attention by hop: the strength between a patch and its spatial neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .displacements import by_displacement, displacements_of
from .patches import maps_of


@attention_metric(long_name="Attention by hop", units="share", dims=("hop",))
def hop_share(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to all patches k hops away (k is the Chebyshev distance on the
    grid, 0 the patch itself), mean over patches.

    Range: 0 to 1; with the shares of the prefix tokens the hops sum to 1.
    Reading: how strongly a patch attends to its neighbours, ring by ring; rings further out have
    more patches. Where queries and keys lie on different grids, hops are counted on the coarser
    one.
    Source: the strength of Li et al. (2023), "How Does Attention Work in Vision Transformers?".
    """
    return _sum_by_hop(layer) / layer.queries.n_patches


@attention_metric(long_name="Attention per neighbour by hop", units="share", dims=("hop",))
def hop_mean(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    """Attention that a patch gives to one patch k hops away, mean over all such pairs.

    Range: 0 to 1; 1/(number of keys) at every hop for uniform attention.
    Reading: unlike the sum per hop it does not grow with the number of neighbours, and patches at
    the border, which have fewer, count as they are. Pairs that no window holds count, with an
    attention of 0.
    Source: after the strength of Li et al. (2023).
    """
    pairs = torch.zeros(layer.of.common.n_hops)
    pairs[: layer.layout.n_hops] = torch.from_numpy(layer.layout.pairs_by_hop)
    return _sum_by_hop(layer) / pairs.to(maps_of(layer))


def _sum_by_hop(layer: LayerAttention) -> Float[Tensor, "image head hop"]:
    mass = by_displacement(layer)
    total = mass.new_zeros(*mass.shape[:2], layer.of.common.n_hops)
    return total.index_add_(-1, displacements_of(layer).hops, mass)
