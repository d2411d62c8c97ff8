"""How far from local a head is, whatever it gives to tokens without a place."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .displacements import by_displacement, displacements_of
from .patches import maps_of


@attention_metric(long_name="Non-locality", units="patches")
def non_locality(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """(1/L) Σᵢⱼ Aᵢⱼ ‖δᵢⱼ‖ over the L query patches i and the key patches j, with δᵢⱼ the way from
    one to the other in patches of the queries' grid.

    Range: 0 (every patch looks at itself, or at no patch) to the largest distance of two patches.
    Reading: unlike the mean attention distance it is not divided by what patches give to patches,
    so attention to the class token or a register counts as no way at all: it says how much looking
    around a head does, where the distance says how far it looks when it does. Undefined where no
    query or no key is a patch.
    Source: D_loc of d'Ascoli et al., "ConViT" (2021), whose first layers have patches only, as we
    have it for layers with other tokens.
    """
    if not layer.keys.n_patches:
        return maps_of(layer).new_full(_heads(layer), torch.nan)
    way = displacements_of(layer).patches.norm(dim=-1)
    return (by_displacement(layer) * way).sum(-1) / layer.queries.n_patches


def _heads(layer: LayerAttention) -> tuple[int, int]:
    return len(maps_of(layer)), layer.of.n_heads
