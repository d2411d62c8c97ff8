"""Attention as it counts: weights times the length of what the value writes."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layers import dense_maps
from .base import attention_metric
from .displacements import displacements_of, sum_by_displacement
from .patches import maps_of, once_per_layer
from .queries import mean_over_queries
from .share import share_of


def norm_weighted(layer: LayerAttention) -> Float[Tensor, "image head query key"] | None:
    """‖Aᵢⱼ vⱼ W_O‖ / Σⱼ ‖Aᵢⱼ vⱼ W_O‖: which keys what a head writes is really made of.

    vⱼ W_O is what key j writes, through the head's part of the output projection (its bias belongs
    to no head). Rows sum to 1, as those of the raw maps do; a key with much attention and a short
    value all but vanishes. Where heads are mixed after the softmax, Aᵢⱼ is the mixed weight that
    meets the value. None where something is done to the head outputs before the projection, so
    that no linear map is the head's own. Kobayashi et al. (2020), "Attention is not only a weight",
    equation 2 and figure 2, whose norms we scale to rows of 1.
    """
    weights = _weights(layer)
    if weights is None:
        return None
    maps = [
        dense_maps(of_image, layer_of.layout)
        for layer_of in layer.images
        for of_image in [_weights(layer_of)]
        if of_image is not None
    ]
    return torch.cat(maps)


@attention_metric(
    long_name="Share of what is written by kind of token",
    units="share",
    dims=("query_kind", "key_kind"),
)
def value_share(layer: LayerAttention) -> Float[Tensor, "image head query_kind key_kind"]:
    """Σⱼ ‖Aᵢⱼ vⱼ W_O‖ over the keys j of one kind, beside that over all keys; mean over the queries
    i of one kind to which something is written.

    Range: 0 to 1; rows sum to 1 over the kinds of key.
    Reading: beside the share of raw attention it tells what that is worth: a class token or a sink
    with half of the attention and a short value writes next to nothing. Undefined where the head
    has no linear map of its own to the output, and for kinds that do not attend or are given
    nothing.
    Source: Kobayashi et al., "Attention Is Not Only a Weight" (2020).
    """
    weights = _weights(layer)
    if weights is None:
        common = layer.of.common
        return _undefined(layer, len(common.query_kinds), len(common.key_kinds))
    shares = share_of(layer, weights)
    return shares / shares.sum(-1, keepdim=True)  # queries that are given nothing do not count


@attention_metric(long_name="Mean distance of what is written", units="px")
def value_distance(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σᵢⱼ wᵢⱼ dᵢⱼ / Σᵢⱼ wᵢⱼ over patches i, j, with dᵢⱼ the distance of their centres in input px
    and wᵢⱼ = ‖Aᵢⱼ vⱼ W_O‖ / Σⱼ ‖Aᵢⱼ vⱼ W_O‖.

    Range: 0 to the largest distance of two patches.
    Reading: from how far what the head writes comes: the mean attention distance of norm-weighted
    attention. Read it beside the raw distance: where this one is shorter, distant keys have short
    values. Undefined where the head has no linear map of its own to the output.
    Source: weights: Kobayashi et al. (2020); distance: Dosovitskiy et al. (2021).
    """
    weights = _weights(layer)
    if weights is None:
        return _undefined(layer)
    mass = sum_by_displacement(layer, weights)
    return (mass * displacements_of(layer).px.norm(dim=-1)).sum(-1) / mass.sum(-1)


@attention_metric(long_name="Length of the values attended to", units="ratio")
def value_norm_ratio(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σⱼ Aᵢⱼ ‖vⱼ W_O‖, mean over patch queries i (over all where none is a patch), beside the mean
    of ‖vⱼ W_O‖ over all keys.

    Range: from 0, at most the largest ‖vⱼ W_O‖ beside their mean; 1 with uniform attention.
    Reading: 1: attention does not care how long values are; below 1: it goes where there is little
    to take, and the head does nothing for want of something to do; above 1: it picks the keys that
    write most. Undefined where the head has no linear map of its own to the output.
    Source: after Kobayashi et al. (2020), section 4, where attention and the length of values run
    against each other.
    """
    norms, weights = _norms(layer), layer.window_mixed_weights
    if norms is None:
        return _undefined(layer)
    taken = (weights.to(norms.dtype).abs() * norms[..., None, :]).sum(-1)
    return mean_over_queries(layer, taken) / norms.mean((1, 3))


@once_per_layer
def _norms(layer: LayerAttention) -> Float[Tensor, "image window head key"] | None:
    """‖v W_O‖ of each key: how long what it writes is."""
    projection = layer.of.projection
    return None if projection is None else projection.norms(layer.window_value)


@once_per_layer
def _weights(layer: LayerAttention) -> Float[Tensor, "image window head query key"] | None:
    """‖Aᵢⱼ vⱼ W_O‖ = |Aᵢⱼ| ‖vⱼ W_O‖, rows scaled to 1; a row of nothing stays 0."""
    norms = _norms(layer)
    if norms is None:
        return None
    raw = layer.window_mixed_weights if layer.of.mixed else maps_of(layer)
    written = raw.to(norms.dtype).abs() * norms[..., None, :]
    total = written.sum(-1, keepdim=True)
    return written.div_(torch.where(total > 0, total, 1))


def _undefined(layer: LayerAttention, *sizes: int) -> Float[Tensor, "image head ..."]:
    weights = maps_of(layer)
    return weights.new_full((len(weights), layer.of.n_heads, *sizes), torch.nan)
