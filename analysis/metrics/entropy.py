"""How widely a head spreads its attention."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import PATCH
from .base import attention_metric
from .patches import token_indices


@attention_metric(long_name="Entropy of attention", units="nats")
def entropy(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ over all keys j, mean over patch queries i: 0 when each patch looks at one
    token only, ln(number of tokens) when it looks at all alike.
    """
    tokens = token_indices(layer.layout, PATCH, layer.weights.device)
    return torch.special.entr(layer.weights[:, :, tokens]).sum(-1).mean(-1)
