"""What metrics that look at one query after the other have between them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import PADDING, PATCH, AttentionLayout
from ...models.sinks import reach_in_windows
from .patches import maps_of, once_per_layer


@dataclass(frozen=True)
class Tokens:
    """Which queries and keys of windows are tokens of the model, and which are patches."""

    query: Bool[Tensor, "window query"]
    key: Bool[Tensor, "window key"]
    query_patch: Bool[Tensor, "window query"]
    key_patch: Bool[Tensor, "window key"]


@lru_cache(maxsize=32)
def _tokens(layout: AttentionLayout, device: torch.device) -> Tokens:
    def where(kinds: list[bool], tokens: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array([*kinds, False])[tokens]).to(device)

    queries, keys = layout.queries.kinds, layout.keys.kinds
    return Tokens(
        where([True for _ in queries], layout.query_tokens),
        where([kind != PADDING for kind in keys], layout.key_tokens),
        where([kind == PATCH for kind in queries], layout.query_tokens),
        where([kind == PATCH for kind in keys], layout.key_tokens),
    )


def tokens_of(layer: LayerAttention) -> Tokens:
    """Those of a layer."""
    return _tokens(layer.layout, maps_of(layer).device)


def mean_over_queries(
    layer: LayerAttention, of_query: Float[Tensor, "image window head query"]
) -> Float[Tensor, "image head"]:
    """Mean over patch queries; over all queries where none is a patch (class attention)."""
    tokens = tokens_of(layer)
    counted = tokens.query_patch if layer.queries.n_patches else tokens.query
    return torch.where(counted[:, None], of_query, 0).sum((1, 3)) / counted.sum()


@once_per_layer
def surprises(layer: LayerAttention) -> Float[Tensor, "image window head query key"]:
    """−A ln A of every weight: what each adds to its row's entropy."""
    weights = maps_of(layer)
    # Quicker than torch.special.entr, and 0 where A is 0 all the same.
    return weights.clamp_min(torch.finfo(weights.dtype).tiny).log_().mul_(weights).neg_()


@once_per_layer
def row_entropies(layer: LayerAttention) -> Float[Tensor, "image window head query"]:
    """Entropy of each query's weights, in nats."""
    return surprises(layer).sum(-1)


@once_per_layer
def n_reachable(layer: LayerAttention) -> Int[Tensor, "image window query"]:
    """How many keys each query may attend to: those of its window that no mask forbids. One window
    has no mask: there, a key that gets nothing gets it by choice.
    """
    reach = reach_in_windows(layer)
    if reach is not None:
        return reach.sum(-1)
    weights = maps_of(layer)
    return torch.full(
        (len(weights), 1, weights.shape[-2]), weights.shape[-1], device=weights.device
    )
