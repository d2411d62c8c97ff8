"""What a sink is: a key token that takes much more attention than its share, whatever the query.

Everything is computed window by window, over the queries that can reach a key. The yardstick is
attention without a choice: a query that reaches n keys would give each 1/n.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .layers import LayerAttention
from .layout import PATCH, AttentionLayout
from .masks import UNREACHED

ROBUST_Z = 3.5
"""How far out an outlier is, in robust standard deviations (1.4826 times the median absolute
deviation): Iglewicz & Hoaglin, "How to Detect and Handle Outliers" (1993)."""
LEAST_LIFT = 4.0
"""What takes no more than four times its share is no sink, however alike the other keys are."""
LEAST_FOLLOWERS = 0.5
"""Of the queries, how many must give a sink more than its share: "whatever the query"."""
LEAST_QUERIES = 4
"""With fewer queries, a sink cannot be told from what they look for."""


class KeyAttention:
    """How much attention the keys of one layer get, from the queries that can reach them."""

    def __init__(
        self,
        weights: Float[Tensor, "image window head query key"],
        layout: AttentionLayout,
        reach: Bool[Tensor, "image window query key"] | None = None,
    ) -> None:
        """`reach`: which keys of its window a query can attend to; None: all."""
        self.weights = weights
        self.layout = layout
        self._reach = reach

    @classmethod
    def of(cls, layer: LayerAttention) -> "KeyAttention":
        """Of a layer whose windows do not depend on the image (`LayerAttention.images`)."""
        return cls(layer.window_weights, layer.layout, reach_in_windows(layer))

    @cached_property
    def _pairs(self) -> Float[Tensor, "image window query key"]:
        """1 where a query is there and reaches a key."""
        there = torch.from_numpy(self.layout.query_tokens >= 0).to(self.weights)
        pairs = there[None, :, :, None]
        if self._reach is None:
            return pairs.expand(-1, -1, -1, self.weights.shape[-1])
        return pairs * self._reach

    @cached_property
    def _share_of_query(self) -> Float[Tensor, "image window query 1"]:
        """1/n of each query."""
        return 1 / self._pairs.sum(-1, keepdim=True).clamp_min(1)

    @cached_property
    def n_queries(self) -> Float[Tensor, "image 1 key"]:
        """How many queries reach each key; several places in a window count as several."""
        return by_key(self._pairs.sum(2).unsqueeze(2), self.layout)

    @cached_property
    def received(self) -> Float[Tensor, "image head key"]:
        """c_j = mean of A_ij over the queries i that reach key j; NaN where none does."""
        layout, weights = self.layout, self.weights
        if layout.is_dense:
            return weights[:, 0].mean(-2)
        if bool((layout.query_tokens < 0).any()):
            there = torch.from_numpy(layout.query_tokens >= 0).to(weights)
            total = torch.einsum("iwhqk,wq->iwhk", weights, there)
        else:
            total = weights.sum(-2)
        return by_key(total, layout) / self.n_queries

    @cached_property
    def fair(self) -> Float[Tensor, "image 1 key"]:
        """What c_j would be if no query chose: the mean of 1/n_i."""
        shares = (self._pairs * self._share_of_query).sum(2)
        return by_key(shares.unsqueeze(2), self.layout) / self.n_queries

    @cached_property
    def lift(self) -> Float[Tensor, "image head key"]:
        """c_j over what it would be without a choice: 1 is a key's share; NaN out of reach."""
        return self.received / self.fair

    @cached_property
    def followers(self) -> Float[Tensor, "image head key"]:
        """Share of the queries that reach a key and give it more than its share."""
        # Beyond rounding: attention to all alike is nobody's choice.
        more = self.weights > self._share_of_query.unsqueeze(2) * 1.001
        there = torch.from_numpy(self.layout.query_tokens >= 0).to(more.device)
        counts = (more & there[None, :, None, :, None]).sum(-2).to(self.weights)
        return by_key(counts, self.layout) / self.n_queries

    @cached_property
    def limit(self) -> Float[Tensor, "image head"]:
        """How much lift an outlier has among the keys of its own head and image, and at least
        `LEAST_LIFT`: exp(median + 3.5 · 1.4826 MAD) of ln lift.
        """
        return robust_limit(self.lift).clamp_min(LEAST_LIFT)

    def sinks(self, lift: float | None = None) -> Bool[Tensor, "image head key"]:
        """Which keys are sinks: more lift than `limit`, or than is given, from most queries."""
        limit = self.limit[..., None] if lift is None else lift
        return (
            (self.lift > limit)  # never NaN
            & (self.followers >= LEAST_FOLLOWERS)
            & (self.n_queries >= LEAST_QUERIES)
        )


def robust_limit(values: Float[Tensor, "*lead value"], z: float = ROBUST_Z) -> Tensor:
    """exp(median + z · 1.4826 MAD) of the logarithms of positive numbers, along the last axis.

    NaN is left out; 0 counts as the smallest number that there is.
    """
    logs = values.clamp_min(torch.finfo(values.dtype).tiny).log()
    middle = logs.nanmedian(-1, keepdim=True).values
    spread = (logs - middle).abs().nanmedian(-1).values
    return (middle[..., 0] + z * 1.4826 * spread).exp()


def reach_in_windows(layer: LayerAttention) -> Bool[Tensor, "image window query key"] | None:
    """Which keys of its window a query can attend to; None: all.

    One window has no mask; image by image, so that no number hangs on the rest of a batch.
    """
    if layer.layout.n_windows == 1:
        return None
    return layer.window_weights.amax(2) > UNREACHED


def by_key(
    slots: Float[Tensor, "image window head key"], layout: AttentionLayout
) -> Float[Tensor, "image head key"]:
    """What stands at the places of windows, added up by key token."""
    n_keys = layout.keys.n_tokens
    if layout.n_windows == 1 and np.array_equal(layout.key_tokens[0], np.arange(n_keys)):
        return slots[:, 0]
    total = slots.new_zeros(slots.shape[0], slots.shape[2], n_keys)
    return total.index_add_(2, _flat(layout, slots.device), slots.transpose(1, 2).flatten(2))


def at_places(
    of_keys: Bool[Tensor, "image head key"], layout: AttentionLayout
) -> Bool[Tensor, "image window head key"]:
    """What belongs to key tokens, at the places that they have in windows."""
    places = of_keys[..., _flat(layout, of_keys.device)]
    return places.unflatten(-1, layout.key_tokens.shape).transpose(1, 2)


def patch_keys(layout: AttentionLayout, device: torch.device) -> Bool[Tensor, " key"]:
    """Which keys are patches."""
    return torch.from_numpy(np.array([kind == PATCH for kind in layout.keys.kinds])).to(device)


@lru_cache(maxsize=32)
def _flat(layout: AttentionLayout, device: torch.device) -> Tensor:
    # Kept for passes with derivatives, too, whoever asks first.
    with torch.inference_mode(mode=False):
        return torch.from_numpy(np.ascontiguousarray(layout.key_tokens).reshape(-1)).to(device)


@dataclass(frozen=True)
class SinkRule:
    """Which keys count as sinks in a pass: by their lift, or by name."""

    lift: float | None = None
    """More than this; None: more than the outlier limit of each head and image itself."""
    tokens: tuple[int, ...] | None = None
    """These keys, whatever they get."""

    def sinks(self, keys: KeyAttention) -> Bool[Tensor, "image head key"]:
        """The sinks of each head and image."""
        if self.tokens is None:
            return keys.sinks(self.lift)
        chosen = torch.zeros_like(keys.received, dtype=torch.bool)
        chosen[..., list(self.tokens)] = True
        return chosen

    def __str__(self) -> str:
        """As it is typed: `sinks`, `sinks>8` or `sinks[0+3]`."""
        if self.tokens is not None:
            return f"sinks[{'+'.join(map(str, self.tokens))}]"
        return "sinks" if self.lift is None else f"sinks>{self.lift:.10g}"


def masked(
    weights: Float[Tensor, "image window head query key"],
    sinks: Bool[Tensor, "image window head key"],
    reach: Bool[Tensor, "image window query key"] | None = None,
) -> Float[Tensor, "image window head query key"]:
    """Attention as if the sinks' scores were −∞ before the softmax.

    A′_ij = A_ij / Σ_{k no sink} A_ik for other keys, 0 for sinks, in rows that sum to 1; any row
    keeps the sum that it had. A row that gives all it has to sinks (in floating point) gives the
    other keys alike; one that reaches no other key stays as it is.
    """
    of_sinks = sinks.unsqueeze(-2)
    others = ~of_sinks if reach is None else ~of_sinks & reach.unsqueeze(2)
    size = weights.abs() * others
    size = torch.where(size.sum(-1, keepdim=True) > 0, size, others.to(weights))
    return _given(weights, of_sinks, size, kept=0)


def redistributed(
    weights: Float[Tensor, "image window head query key"],
    sinks: Bool[Tensor, "image window head key"],
    image: Bool[Tensor, "window key"],
    *,
    kept: float,
) -> Float[Tensor, "image window head query key"]:
    """Part of the sinks' attention given to the other image tokens, in proportion to theirs.

    A′_ij = p A_ij for sinks j; A_ij (1 + (1 − p) Σ_{k sink} A_ik / Σ_{k other patch} A_ik) for the
    other patches; A_ij for what is left. Rows keep their sums. A row without attention to other
    patches stays as it is. Kang et al., "See What You Are Told" (2025), section 5.
    """
    of_sinks = sinks.unsqueeze(-2)
    size = weights.abs() * (image[:, None, None, :] & ~of_sinks)
    return _given(weights, of_sinks, size, kept=kept)


def _given(weights: Tensor, of_sinks: Tensor, size: Tensor, *, kept: float) -> Tensor:
    """All but a part of what sinks have, given to other keys in proportion to `size`.

    What talking heads mixed has negative weights: there, too, rows keep their sums.
    """
    surplus = ((1 - kept) * weights * of_sinks).sum(-1, keepdim=True)
    total = size.sum(-1, keepdim=True)
    after = torch.where(of_sinks, weights * kept, weights + surplus * (size / total))
    return torch.where(total > 0, after, weights)
