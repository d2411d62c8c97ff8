"""How far a head looks."""

from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import patch_weights


@attention_metric(long_name="Mean attention distance", units="px")
def distance(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σᵢⱼ Aᵢⱼ dᵢⱼ / Σᵢⱼ Aᵢⱼ over patches i, j, with dᵢⱼ the distance of their centres in input px:
    how far the attention between patches reaches. 0: every patch looks at itself. It rests on the
    share that patches give to patches, so read it beside that share; undefined where that is 0.
    After Dosovitskiy et al. (2021), appendix D.7, who have no prefix tokens to leave out.
    """
    weights, pairs = patch_weights(layer)
    between = (1, 3, 4)
    return (weights * pairs.distance[:, None]).sum(between) / weights.sum(between)
