"""Sinks: how much attention the keys of a head get, and the one that gets most."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.sinks import KeyAttention
from .base import attention_metric


def received(layer: LayerAttention) -> Float[Tensor, "image head key"]:
    """c_j = mean of A_ij over the queries i that can reach key j, for every key token of a layer:
    what a map of sinks draws over the image. 1/n for each of n keys where all get alike; NaN for a
    key that no query reaches. In attention from all to all it sums to 1 over keys.
    """
    return torch.cat([KeyAttention.of(image).received for image in layer.images])


@attention_metric(long_name="Sink score", units="share")
def sink_score(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """max_j c_j, where c_j is the mean attention that key j gets from the queries that can reach
    it.

    Range: 1/n (all of n keys get alike) to 1 (every query looks at one key only).
    Reading: large: one token takes attention whatever the query.
    Source: after Xiao et al., "Efficient Streaming Language Models with Attention Sinks" (2023),
    and the sink metric of Gu et al., "When Attention Sink Emerges" (2024), equation 5; there one
    key is given, here it is the one that gets most.
    """
    return _most(received(layer)).values


@attention_metric(long_name="Sink concentration", units="ratio")
def sink_concentration(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """max_j c_j / median_j c_j, where c_j is the mean attention that key j gets.

    Range: from 1 (all keys get alike), without an upper end; infinite where most keys get nothing
    at all.
    Reading: large where one key gets much more than a typical one.
    Source: our own.
    """
    share = received(layer)
    return _most(share).values / share.nanquantile(0.5, dim=-1)


@attention_metric(long_name="Token that gets most attention", units="token")
def sink_token(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """argmax_j c_j, where c_j is the mean attention that key j gets: the index, among the layer's
    keys, of the token that gets most; one of them where several get alike.

    Range: 0 to the number of keys − 1.
    Reading: the study's layouts say which token that is: class, register, or which patch. An index:
    means over images say nothing, counts do.
    Source: after Gu et al. (2024), who give the key.
    """
    share = received(layer)
    return _most(share).indices.to(share.dtype)


def _most(share: Float[Tensor, "image head key"]) -> "torch.return_types.max":
    # Keys that no query reaches are NaN, which would win.
    return share.nan_to_num(nan=-1).max(-1)
