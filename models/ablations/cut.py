"""Parts of a head: attention between some tokens is cut, the rest of the head stays."""

import re
from abc import abstractmethod
from functools import lru_cache
from typing import Self, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..capture import LayerAttention
from ..layout import PATCH, TokenLayout
from .base import HeadAblation, layouts_of
from .reference import StandIns

ANY = "any"
RENORMALISED = ":renormalised"


class _Cut(HeadAblation):
    """Some of a head's attention is removed: A′ = A ∘ (1 − M), as it is or with rows scaled back.

    Renormalised, each row of A′ is scaled to the sum that it had; a row that loses all of its mass
    is 0. The head's output is o + (A′ − A) v, with o as the model computed it: where nothing is
    removed, it does not move by a bit.
    """

    def __init__(self, part: str, *, renormalised: bool) -> None:
        self.part = part
        """The name without the suffix."""
        self.renormalised = renormalised

    @property
    def name(self) -> str:
        return self.part + RENORMALISED * self.renormalised

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name  # pyright: ignore

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def split(cls, name: str) -> tuple[str, bool]:
        """A name's part, and whether rows are renormalised."""
        return name.removesuffix(RENORMALISED), name.endswith(RENORMALISED)

    @abstractmethod
    def removed(self, queries: TokenLayout, keys: TokenLayout) -> Bool[np.ndarray, "query key"]:
        """Which weights are removed."""

    def weights(self, clean: LayerAttention, head: int) -> Float[Tensor, "image query key"]:
        """The head's attention with the part removed."""
        before = clean.mixed_weights[:, head]
        after = before * _kept(self, *layouts_of(clean), before.device)
        if not self.renormalised:
            return after
        mass, left = before.sum(-1, keepdim=True), after.sum(-1, keepdim=True)
        # mass / left is 1 to the bit where nothing is removed.
        return torch.where(left > 0, after * (mass / left), 0)

    def attention(self, clean: LayerAttention, head: int) -> Tensor:
        return self.weights(clean, head)

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        del stand_ins
        before, after = clean.mixed_weights[:, head], self.weights(clean, head)
        change = (after - before).to(clean.value.dtype)
        output = clean.head_output[:, head] + change @ clean.value[:, head]
        # Rounding would leave a trace of a row that is gone.
        return output * (after.amax(-1, keepdim=True) > 0)


@lru_cache(maxsize=16)
def _kept(
    cut: _Cut, queries: TokenLayout, keys: TokenLayout, device: torch.device
) -> Bool[Tensor, "query key"]:
    # Kept for passes with derivatives, too, whoever asks first.
    with torch.inference_mode(mode=False):
        return torch.from_numpy(~cut.removed(queries, keys)).to(device)


@final
class CutBetween(_Cut):
    """Attention from one kind of query to one kind of key is removed, the rest of the head stays.
    QUERY and KEY are `class`, `distillation`, `register`, `patch` or `any`, as in `class-to-patch`.
    With `:renormalised` each row is scaled to the sum that it had; a row that loses all is 0. After
    the partial pruning of heads of Li et al. (TVCG 2023).
    """

    forms = ("QUERY-to-KEY", f"QUERY-to-KEY{RENORMALISED}")
    _PATTERN = re.compile(r"({0})-to-({0})".format("any|class|distillation|register|patch"))

    @classmethod
    def parse(cls, name: str) -> Self | None:
        part, renormalised = cls.split(name)
        return cls(part, renormalised=renormalised) if cls._PATTERN.fullmatch(part) else None

    @property
    def description(self) -> str:
        query, key = (f"{kind} tokens" for kind in self._kinds)
        return f"Attention from {query} to {key} is removed{_and_then(self)}"

    @property
    def _kinds(self) -> tuple[str, str]:
        query, _, key = self.part.partition("-to-")
        return query, key

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        for kind, layout in zip(self._kinds, (queries, keys), strict=True):
            if kind not in (ANY, *layout.present_kinds):
                return f"it has no {kind} token there"
        return ""

    def removed(self, queries: TokenLayout, keys: TokenLayout) -> Bool[np.ndarray, "query key"]:
        chosen = [
            np.array([kind in (ANY, of_token) for of_token in layout.kinds])
            for kind, layout in zip(self._kinds, (queries, keys), strict=True)
        ]
        return np.logical_and.outer(*chosen)


@final
class CutHops(_Cut):
    """Attention between patches at most R hops apart (`hops<=R`), or more (`hops>R`), is removed;
    a hop is a step on the grid, diagonals too, and 0 the patch itself. Attention of and to prefix
    tokens stays. With `:renormalised` each row is scaled to the sum that it had; a row that loses
    all is 0. After the partial pruning of heads of Li et al. (TVCG 2023).
    """

    forms = ("hops<=R", f"hops<=R{RENORMALISED}", "hops>R", f"hops>R{RENORMALISED}")
    _PATTERN = re.compile(r"hops(<=|>)(0|[1-9][0-9]{0,3})")

    @classmethod
    def parse(cls, name: str) -> Self | None:
        part, renormalised = cls.split(name)
        return cls(part, renormalised=renormalised) if cls._PATTERN.fullmatch(part) else None

    @property
    def description(self) -> str:
        near, hops = self._band
        which = f"at most {hops}" if near else f"more than {hops}"
        return f"Attention between patches {which} hops apart is removed{_and_then(self)}"

    @property
    def _band(self) -> tuple[bool, int]:
        """Whether it is the near ones that go, and the hop that divides."""
        found = self._PATTERN.fullmatch(self.part)
        assert found is not None
        return found[1] == "<=", int(found[2])

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        if queries.grid != keys.grid:
            return "its queries and keys lie on different grids"
        near, hops = self._band
        if not near and hops >= queries.n_hops - 1:
            return f"no two of its patches are more than {queries.n_hops - 1} hops apart"
        return ""

    def removed(self, queries: TokenLayout, keys: TokenLayout) -> Bool[np.ndarray, "query key"]:
        near, hops = self._band
        mask = np.zeros((queries.n_tokens, keys.n_tokens), bool)
        band = queries.hops <= hops if near else queries.hops > hops
        mask[np.ix_(queries.tokens(PATCH), keys.tokens(PATCH))] = band
        return mask


def _and_then(cut: _Cut) -> str:
    if cut.renormalised:
        return "; rows are scaled to the sum that they had, and a row that loses all is 0."
    return ", and nothing takes its place."
