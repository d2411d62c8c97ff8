"""How far a head looks."""

from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .displacements import by_displacement, displacements_of


@attention_metric(long_name="Mean attention distance", units="px")
def distance(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σᵢⱼ Aᵢⱼ dᵢⱼ / Σᵢⱼ Aᵢⱼ over patches i, j, with dᵢⱼ the distance of their centres in input px.

    Range: 0 (every patch looks at itself) to the largest distance of two patches.
    Reading: how far the attention between patches reaches. It rests on the share that patches give
    to patches, so read it beside that share; undefined where that is 0.
    Source: after Dosovitskiy et al. (2021), appendix D.7, who have no prefix tokens to leave out.
    """
    mass = by_displacement(layer)
    return (mass * displacements_of(layer).px.norm(dim=-1)).sum(-1) / mass.sum(-1)
