"""Who a head attends to: class, registers, patches, or the token itself."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import PATCH, TokenLayout
from .base import attention_metric
from .displacements import displacements_of
from .patches import maps_of, once_per_layer, tokens_of_kind
from .queries import mean_over_queries


@attention_metric(
    long_name="Share of attention by kind of token", units="share", dims=("query_kind", "key_kind")
)
def share(layer: LayerAttention) -> Float[Tensor, "image head query_kind key_kind"]:
    """Σⱼ Aᵢⱼ over the keys j of one kind (class, register, patch …), mean over the queries i of one
    kind.

    Range: 0 to 1; rows sum to 1 over the kinds of key.
    Reading: who a head attends to. Undefined for kinds that do not attend in the layer.
    Source: our own.
    """
    return share_of(layer, maps_of(layer))


@attention_metric(long_name="Attention to itself", units="share")
def self_share(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Aᵢⱼ with j the token i itself, mean over patch queries (over all queries where none is a
    patch).

    Range: 0 to 1 (every patch looks at itself only); 1/(number of keys) for uniform attention.
    Reading: where queries and keys lie on different grids, j is the patch that holds the other: it
    is always the hop 0. With the other hops and the shares of class token and registers it adds up
    to 1.
    Source: our own.
    """
    return mean_over_queries(layer, _to_itself(layer))


@attention_metric(
    long_name="Attention to itself by kind of token", units="share", dims=("query_kind",)
)
def self_share_by_kind(layer: LayerAttention) -> Float[Tensor, "image head query_kind"]:
    """Aᵢⱼ with j the token i itself, mean over the queries of one kind.

    Range: 0 to 1; 0 for those that are not among their layer's keys.
    Reading: what the class token keeps for itself, or a register. Undefined for kinds that do not
    attend in the layer. Several registers do not count as each other.
    Source: our own.
    """
    to_itself, windows = _to_itself(layer), layer.layout.query_tokens
    shares = []
    for kind in layer.of.common.query_kinds:
        queries = tokens_of_kind(layer.queries, windows, kind, to_itself.device)
        shares.append((to_itself * queries[:, None]).sum((1, 3)) / queries.sum())
    return torch.stack(shares, dim=-1)


def share_of(
    layer: LayerAttention, weights: Float[Tensor, "image window head query key"]
) -> Float[Tensor, "image head query_kind key_kind"]:
    """Any weights of a layer's pairs: sum over the keys, mean over the queries of each kind."""
    layout, common = layer.layout, layer.of.common
    by_key = torch.stack(
        [
            (
                weights
                * tokens_of_kind(layer.keys, layout.key_tokens, kind, weights.device)[
                    :, None, None
                ].to(weights.dtype)
            ).sum(-1)
            for kind in common.key_kinds
        ],
        dim=-1,
    )
    shares = []
    for kind in common.query_kinds:
        queries = tokens_of_kind(layer.queries, layout.query_tokens, kind, weights.device)
        of_kind = (by_key * queries[:, None, :, None]).sum((1, 3))
        shares.append(of_kind / queries.sum())
    return torch.stack(shares, dim=2)


@once_per_layer
def _to_itself(layer: LayerAttention) -> Float[Tensor, "image window head query"]:
    ways = displacements_of(layer)
    same_cell = torch.cat([ways.hops == 0, ways.hops.new_zeros(1, dtype=torch.bool)])
    itself = same_cell[ways.of_pair]
    queries, keys = _names(layer.queries), _names(layer.keys)
    # Prefix tokens by kind and number; −1 and −2 are patches, or no token.
    known = {name: index for index, name in enumerate(dict.fromkeys(queries + keys)) if name}
    sides = [
        np.array([none if name is None else known[name] for name in (*names, None)])[tokens]
        for names, tokens, none in (
            (queries, layer.layout.query_tokens, -1),
            (keys, layer.layout.key_tokens, -2),
        )
    ]
    same = torch.from_numpy(sides[0][:, :, None] == sides[1][:, None, :]).to(itself.device)
    weights = maps_of(layer)
    return (weights * (itself | same)[:, None].to(weights.dtype)).sum(-1)


def _names(layout: TokenLayout) -> list[tuple[str, int] | None]:
    """Kind and number within its kind of every token; None for patches."""
    seen: dict[str, int] = {}
    names: list[tuple[str, int] | None] = []
    for kind in layout.kinds:
        names.append(None if kind == PATCH else (kind, seen.setdefault(kind, 0)))
        seen[kind] = seen.get(kind, 0) + 1
    return names
