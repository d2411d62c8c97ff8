"""How much the query says about the key: whether a head's rows differ, or have collapsed."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .patches import maps_of
from .queries import surprises, tokens_of


@attention_metric(long_name="Mutual information of query and key", units="share")
def nmi(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """I(q; k) / √(H(q) H(k)) with p(q) = 1/(number of queries) and p(k|q) = A, over all tokens.

    Range: 0 (every query looks at the same keys, whatever their number) to 1 (every query has a key
    of its own).
    Reading: low (attention collapse) for heads that are uniform and for heads that are all sink.
    Windows are information too: queries of different windows cannot look at the same keys. 0 where
    all attention is on one key; undefined for one query only (class attention). Padding is left
    out.
    Source: Park et al., "What Do Self-Supervised Vision Transformers Learn?" (2023), section 2.
    """
    tokens = tokens_of(layer)
    return _nmi(layer, tokens.query, tokens.key)


@attention_metric(long_name="Mutual information of query and key patch", units="share")
def nmi_patches(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """I(q; k) / √(H(q) H(k)) between patches only: what a query gives to class token and registers
    is left out, and the rest of its row sums to 1 again.

    Range: 0 (all patches look at the same patches) to 1 (every patch has one of its own).
    Reading: a head that sends most of its attention to the class token, and the rest where the
    patch is, has a high one here and a low one over all tokens. Undefined where patches give
    nothing to patches.
    Source: after Park et al. (2023), who do not part the two.
    """
    tokens = tokens_of(layer)
    return _nmi(layer, tokens.query_patch, tokens.key_patch)


def _nmi(
    layer: LayerAttention, queries: Bool[Tensor, "window query"], keys: Bool[Tensor, "window key"]
) -> Float[Tensor, "image head"]:
    """I/√(H(q) H(k)) over some queries and some keys, whose rows are made to sum to 1."""
    weights, parts = maps_of(layer), surprises(layer)
    tiny = torch.finfo(weights.dtype).tiny
    if bool(keys.all()):
        mass, part = weights.sum(-1), parts.sum(-1)
    else:
        of_key = keys[:, None, None].to(weights.dtype)
        mass, part = (weights * of_key).sum(-1), (parts * of_key).sum(-1)
    counted = queries[:, None] & (mass > tiny)
    mass = torch.where(counted, mass, 1)
    n_queries = counted.sum((1, 3))
    # H of p/m is (H(p) unnormalised)/m + ln m.
    of_query = torch.where(counted, part / mass + mass.log(), 0).sum((1, 3)) / n_queries

    received = ((counted / mass)[..., None, :] @ weights)[..., 0, :] * keys[:, None]
    flat = received.transpose(1, 2).flatten(2)
    tokens = torch.from_numpy(layer.layout.key_tokens.reshape(-1)).to(flat.device)
    marginal = flat.new_zeros(*flat.shape[:2], layer.keys.n_tokens).index_add_(2, tokens, flat)
    marginal = marginal / n_queries[..., None]
    of_key = -(marginal * marginal.clamp_min(tiny).log()).sum(-1)

    # Sums that should be equal differ by rounding.
    of_key, shared = of_key.clamp_min(0), (of_key - of_query).clamp_min(0)
    scale = (of_key * n_queries.to(of_key.dtype).log()).sqrt()
    share = torch.where(of_key > 0, shared / scale, 0)
    return torch.where(n_queries > 1, share, math.nan)
