"""Sinks removed from a head, or their attention given to the rest of the image."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..layers import LayerAttention, dense_maps, to_tokens
from ..layout import TokenLayout
from ..sinks import (
    LEAST_QUERIES,
    KeyAttention,
    SinkRule,
    at_places,
    masked,
    patch_keys,
    reach_in_windows,
    redistributed,
)
from .base import Ablation
from .reference import StandIns

_RULE = re.compile(r"sinks(?:>([0-9]{1,6}(?:\.[0-9]{1,9})?)|\[([0-9]{1,6}(?:\+[0-9]{1,6})*)\])?")
KEPT = 0.6
"""Of a sink's attention, what it keeps when it is redistributed: p of Kang et al. (2025)."""


class SinkEdit(Ablation):
    """Attention to sinks is changed, the rest of the head stays: o + (A′ − A) v."""

    def __init__(self, rule: SinkRule) -> None:
        self.rule = rule

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name  # pyright: ignore

    def __hash__(self) -> int:
        return hash(self.name)

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        if self.rule.tokens is None:
            few = queries.n_tokens < LEAST_QUERIES
            return "it has too few queries to tell a sink from what they look for" if few else ""
        beyond = [token for token in self.rule.tokens if token >= keys.n_tokens]
        return f"it has {keys.n_tokens} keys, and no key {beyond[0]}" if beyond else ""

    @abstractmethod
    def edited(
        self,
        weights: Float[Tensor, "image window head query key"],
        sinks: Bool[Tensor, "image window head key"],
        layer: LayerAttention,
    ) -> Float[Tensor, "image window head query key"]:
        """A′: what becomes of the weights."""

    def window_weights(
        self,
        layer: LayerAttention,
        heads: Sequence[int],
        weights: Float[Tensor, "image window head query key"],
    ) -> Float[Tensor, "image window head query key"]:
        """A′ of some heads for a layer whose windows do not depend on the image.

        Which keys are sinks is read from the attention after softmax; `weights` are those to
        change, of these heads.
        """
        seen = layer.window_weights[:, :, list(heads)]
        keys = KeyAttention(seen, layer.layout, reach_in_windows(layer))
        sinks = self.rule.sinks(keys)
        return self.edited(weights, at_places(sinks, layer.layout), layer)

    def attention(self, clean: LayerAttention, head: int) -> Tensor:
        found = []
        for image in clean.images:
            after = self.window_weights(image, [head], image.window_weights[:, :, [head]])
            found.append(dense_maps(after, image.layout)[:, 0])
        return torch.cat(found)

    def edit(
        self,
        heads: Tensor,
        clean: LayerAttention,
        chosen: Sequence[int],
        stand_ins: StandIns | None = None,
    ) -> None:
        del stand_ins
        chosen = list(chosen)
        if not chosen:
            return
        changes = []
        for image in clean.images:
            before = image.window_mixed_weights[:, :, chosen]
            after = self.window_weights(image, chosen, before)
            values = image.window_value[:, :, chosen]
            change = (after - before).to(values.dtype) @ values
            layout = image.layout
            changes.append(to_tokens(change, layout.query_tokens, layout.queries.n_tokens))
        # Added to what the model itself computed: a row that loses nothing does not move by a bit.
        heads[:, chosen] += torch.cat(changes)


@final
class SinksMasked(SinkEdit):
    """Attention to sinks is removed as if their scores were −∞ before the softmax: the other keys
    share it in proportion, and rows sum to 1 as before. Sinks are keys with more than R times their
    share (`sinks>R`), or that are outliers in their head and image (`sinks`), each from most of
    the queries; or the keys named, as in `sinks[0+3]`.
    """

    forms = ("sinks:masked", "sinks>R:masked", "sinks[TOKENS]:masked")

    @classmethod
    def parse(cls, name: str) -> Self | None:
        rule, _, what = name.partition(":")
        found = _read(rule)
        return None if found is None or what != "masked" else cls(found)

    @property
    def name(self) -> str:
        return f"{self.rule}:masked"

    @property
    def description(self) -> str:
        return (
            f"Attention to {_which(self.rule)} is removed before the softmax: the other keys share "
            "it in proportion to theirs."
        )

    def edited(self, weights: Tensor, sinks: Tensor, layer: LayerAttention) -> Tensor:
        return masked(weights, sinks, reach_in_windows(layer))


@final
class SinksRedistributed(SinkEdit):
    """Of the attention to sinks a part is given to the other patches in proportion to theirs; p,
    the part that stays, is 0.6, or as in `sinks:redistributed@0.2`. Prefix tokens that are no sinks
    keep theirs, and rows sum to 1 as before. Sinks are as for `sinks:masked`. Visual Attention
    Redistribution of Kang et al., "See What You Are Told" (2025), who know sinks by their hidden
    states and change only image-centric heads.
    """

    forms = ("sinks:redistributed", "sinks>R:redistributed", "sinks[TOKENS]:redistributed")

    def __init__(self, rule: SinkRule, kept: float = KEPT) -> None:
        super().__init__(rule)
        self.kept = kept
        """p: the part of its attention that a sink keeps."""

    @classmethod
    def parse(cls, name: str) -> Self | None:
        rule, _, what = name.partition(":")
        found, kept = _read(rule), re.fullmatch(r"redistributed(?:@(0(?:\.[0-9]{1,6})?|1))?", what)
        if found is None or kept is None:
            return None
        return cls(found, KEPT if kept[1] is None else float(kept[1]))

    @property
    def name(self) -> str:
        suffix = "" if self.kept == KEPT else f"@{self.kept:g}"
        return f"{self.rule}:redistributed{suffix}"

    @property
    def description(self) -> str:
        return (
            f"{1 - self.kept:.0%} of the attention to {_which(self.rule)} is given to the other "
            "patches in proportion to theirs."
        )

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        return super().why_not(queries, keys) or (
            "" if keys.n_patches else "its keys are no patches"
        )

    def edited(self, weights: Tensor, sinks: Tensor, layer: LayerAttention) -> Tensor:
        image = patch_keys(layer.layout, weights.device)
        places = at_places(image[None, None], layer.layout)[0, :, 0]
        return redistributed(weights, sinks, places, kept=self.kept)


def _read(rule: str) -> SinkRule | None:
    found = _RULE.fullmatch(rule)
    if found is None:
        return None
    lift, tokens = found[1], found[2]
    return SinkRule(
        None if lift is None else float(lift),
        None if tokens is None else tuple(sorted({int(token) for token in tokens.split("+")})),
    )


def _which(rule: SinkRule) -> str:
    if rule.tokens is not None:
        return f"the keys {', '.join(map(str, rule.tokens))}"
    if rule.lift is not None:
        return f"sinks (keys with more than {rule.lift:g} times their share, from most queries)"
    return "sinks (outliers among the keys of their head and image, from most queries)"
