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
    it: 1/n where all of n keys get alike, 1 where every query looks at one key only. After Xiao et
    al., "Efficient Streaming Language Models with Attention Sinks" (2023), and the sink metric of
    Gu et al., "When Attention Sink Emerges" (2024), equation 5; there one key is given, here it is
    the one that gets most.
    """
    return _most(received(layer)).values


@attention_metric(long_name="Sink concentration", units="ratio")
def sink_concentration(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """max_j c_j / median_j c_j, where c_j is the mean attention that key j gets: 1 where all keys
    get alike, large where one key gets much more than a typical one. Infinite where most keys get
    nothing at all.
    """
    share = received(layer)
    return _most(share).values / share.nanquantile(0.5, dim=-1)


@attention_metric(long_name="Token that gets most attention", units="token")
def sink_token(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """argmax_j c_j: the index, among the layer's keys, of the token that gets most attention; one
    of them where several get alike. The study's layouts say which token that is: class, register,
    or which patch. An index: means over images say nothing, counts do.
    """
    share = received(layer)
    return _most(share).indices.to(share.dtype)


def _most(share: Float[Tensor, "image head key"]) -> "torch.return_types.max":
    # Keys that no query reaches are NaN, which would win.
    return share.nan_to_num(nan=-1).max(-1)
