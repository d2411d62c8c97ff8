"""Who a head attends to: class, registers or patches."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import tokens_of_kind


@attention_metric(
    long_name="Share of attention by kind of token", units="share", dims=("query_kind", "key_kind")
)
def share(layer: LayerAttention) -> Float[Tensor, "image head query_kind key_kind"]:
    """Σⱼ Aᵢⱼ over the keys j of one kind (class, register, patch …), mean over the queries i of one
    kind. Rows sum to 1 over the kinds of key; undefined for kinds that do not attend in the layer.
    """
    weights, device = layer.window_weights, layer.window_weights.device
    windows = layer.windows
    by_key = torch.stack(
        [
            (
                weights
                * tokens_of_kind(layer.keys, windows.key_tokens, kind, device)[:, None, None]
            ).sum(-1)
            for kind in layer.of.common.key_kinds
        ],
        dim=-1,
    )
    shares = []
    for kind in layer.of.common.query_kinds:
        queries = tokens_of_kind(layer.queries, windows.query_tokens, kind, device)
        of_kind = (by_key * queries[:, None, :, None]).sum((1, 3))
        shares.append(of_kind / queries.sum())
    return torch.stack(shares, dim=2)
