"""Which way a head looks: attention by where the key lies from the query."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .displacements import by_displacement, displacements_of


@attention_metric(
    long_name="Attention by offset", units="share", dims=("row_offset", "column_offset")
)
def offset_map(layer: LayerAttention) -> Float[Tensor, "image head row_offset column_offset"]:
    """Attention that a patch gives to the patch Δ rows below and Δ columns to the right of it
    (above and to the left are negative), mean over all query patches.

    Range: 0 to 1; the sum of the map is the share that patches give to patches.
    Reading: which way a head looks. A patch at the border has fewer neighbours, so even a uniform
    head fades towards the corners. An offset that no two patches of a window have, or only such as
    a mask keeps apart, is NaN. Offsets are in patches of the layer's own grid (the coarser one,
    where queries and keys differ); NaN where patches lie on no grid.
    Source: our own; that heads attend by relative position: Cordonnier et al., "On the Relationship
    between Self-Attention and Convolutional Layers" (2020).
    """
    ways, mass = displacements_of(layer), by_displacement(layer)
    reach = layer.of.common.offset_reach
    rows, columns = (2 * far + 1 for far in reach)
    maps = mass.new_full((*mass.shape[:2], rows * columns), torch.nan)
    middle = torch.tensor(reach, device=mass.device)
    # Routed windows and scattered patches may go further than the map.
    there = (ways.n_pairs > 0) & (ways.cells.abs() <= middle).all(-1)
    on_no_grid = any(side.scattered is not None for side in (layer.queries, layer.keys))
    if on_no_grid or not layer.queries.n_patches:
        return maps.unflatten(-1, (rows, columns))
    at = ways.cells[there] + middle
    index = at[:, 0] * columns + at[:, 1]
    maps[..., index] = 0
    maps.index_add_(-1, index, mass[..., there] / layer.queries.n_patches)
    return maps.unflatten(-1, (rows, columns))


@attention_metric(long_name="Mean offset down", units="px", signed=True)
def row_offset_mean(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σᵢⱼ Aᵢⱼ (yⱼ − yᵢ) / Σᵢⱼ Aᵢⱼ over patches i, j, with y the row of their centres in input px.

    Range: minus to plus the largest distance of two rows.
    Reading: how far down (positive) or up (negative) the head looks on average. 0 also for a head
    that looks as far up as down: see the map of offsets. Undefined where patches give nothing to
    patches.
    Source: our own.
    """
    return _mean_offset(layer)[..., 0]


@attention_metric(long_name="Mean offset to the right", units="px", signed=True)
def column_offset_mean(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σᵢⱼ Aᵢⱼ (xⱼ − xᵢ) / Σᵢⱼ Aᵢⱼ over patches i, j, with x the column of their centres in input
    px.

    Range: minus to plus the largest distance of two columns.
    Reading: how far to the right (positive) or to the left (negative) the head looks on average. 0
    also for a head that looks as far to both sides. Undefined where patches give nothing to
    patches.
    Source: our own.
    """
    return _mean_offset(layer)[..., 1]


@attention_metric(long_name="Directionality", units="share")
def directionality(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """‖Σᵢⱼ Aᵢⱼ δᵢⱼ‖ / Σᵢⱼ Aᵢⱼ ‖δᵢⱼ‖ over patches i, j, with δᵢⱼ the way from i to j in input px.

    Range: 0 (as much goes one way as the other, or to the middle from all sides) to 1 (all
    attention that leaves its patch goes the same way, such as to the left neighbour).
    Reading: the length of the mean offset beside the mean distance. Undefined where no attention
    leaves its patch.
    Source: the resultant length of circular statistics, each way weighted by its length: Mardia &
    Jupp, "Directional Statistics" (2000), section 2.3.
    """
    mass, px = by_displacement(layer), displacements_of(layer).px
    return (mass @ px).norm(dim=-1) / (mass * px.norm(dim=-1)).sum(-1)


def _mean_offset(layer: LayerAttention) -> Float[Tensor, "image head 2"]:
    mass = by_displacement(layer)
    return (mass @ displacements_of(layer).px) / mass.sum(-1, keepdim=True)
