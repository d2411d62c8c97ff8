"""How widely a head spreads its attention."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import patch_pairs


@attention_metric(long_name="Entropy of attention", units="nats")
def entropy(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ over all keys j, mean over patch queries i: 0 when each patch looks at one
    token only, ln(number of keys) when it looks at all alike. Over all queries where none is a
    patch (class attention).
    """
    weights = layer.window_weights
    queries = patch_pairs(layer.layout, weights.device, weights.dtype).query
    if not layer.queries.n_patches:
        queries = torch.ones_like(queries)
    of_query = torch.special.entr(weights).sum(-1) * queries[:, None]
    return of_query.sum((1, 3)) / queries.sum()
