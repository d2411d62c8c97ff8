"""Who a head attends to: class, registers or patches."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import token_indices


@attention_metric(
    long_name="Share of attention by kind of token", units="share", dims=("query_kind", "key_kind")
)
def share(layer: LayerAttention) -> Float[Tensor, "image head query_kind key_kind"]:
    """Σⱼ Aᵢⱼ over the keys j of one kind (class, register, patch …), mean over the queries i of one
    kind. Rows sum to 1 over the kinds of key.
    """
    device = layer.weights.device
    kinds = [token_indices(layer.layout, kind, device) for kind in layer.layout.present_kinds]
    by_key = torch.stack([layer.weights[..., keys].sum(-1) for keys in kinds], dim=-1)
    return torch.stack([by_key[:, :, queries].mean(2) for queries in kinds], dim=2)
