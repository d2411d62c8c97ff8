"""Pairs of heads: do two matter more together than apart?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from ...models.errors import HeadscopeError
from .joint import Head
from .removal import OnProgress, Removal, standard_error
from .values import Value

PAIRS_AT_ONCE = 256
"""Pairs between two reports of progress."""


@dataclass(frozen=True)
class Synergy:
    """How much more two heads matter together than apart, for every pair of some heads.

    s(i, j) = effect({i, j}) − effect({i}) − effect({j}), with effect(S) = v(∅) − v(S), v the value
    read of the output and S the heads removed. In the value's units (of a probability from −2 to
    2); symmetric; 0 where the two add up.

    Positive: redundant, a backup pair. Either can stand in for the other, so each alone looks
    unimportant and both together are not. Negative: they overlap or depend on each other. What the
    first takes away, the second cannot take away again, as in a chain that breaks with either. A
    probability is bounded, so two strong heads overlap by themselves: the logit tells that apart.
    """

    heads: tuple[Head, ...]
    value: Value
    mode: str
    """The ablation."""
    alone: Float[np.ndarray, "image head"]
    """effect({i})."""
    together: Float[np.ndarray, "image head head"]
    """effect({i, j}); the diagonal is effect({i})."""

    @cached_property
    def per_image(self) -> Float[np.ndarray, "image head head"]:
        """s(i, j); the diagonal, where there is no pair, is NaN."""
        # The sum first: it is the same for (i, j) and (j, i) to the bit.
        synergy = self.together - (self.alone[:, :, None] + self.alone[:, None, :])
        return np.where(np.eye(len(self.heads), dtype=bool), np.nan, synergy)

    @property
    def mean(self) -> Float[np.ndarray, "head head"]:
        """Over images."""
        return self.per_image.mean(0)

    @property
    def standard_error(self) -> Float[np.ndarray, "head head"]:
        """Of the mean over images; NaN for one image."""
        return standard_error(self.per_image)

    @property
    def same_layer(self) -> Bool[np.ndarray, "head head"]:
        """Whether two heads share a layer."""
        layers = np.array([layer for layer, _ in self.heads])
        return layers[:, None] == layers[None, :]


def pairwise_synergy(
    removal: Removal, heads: Sequence[Head], *, progress: OnProgress | None = None
) -> Synergy:
    """The synergy of every pair of some heads, exactly: n(n − 1)/2 head sets.

    Which heads: `top_heads(scores, 20)`, or `heads_of_layers(checkpoint, [3, 4])`. Mind that a pair
    of perfect backups is unimportant alone: among the top heads it is not found.

    Raises:
        HeadscopeError: fewer than two heads, one that is not there, or one that comes twice.
    """
    heads = tuple(heads)
    if len(set(heads)) < max(2, len(heads)):
        raise HeadscopeError(
            f"Synergy is of pairs of different heads, got {len(heads)} heads of which "
            f"{len(set(heads))} differ; give at least two, each once."
        )
    alone = removal.clean - removal([[head] for head in heads])
    together = np.zeros((len(heads), len(heads), removal.n_images))
    together[np.diag_indices(len(heads))] = alone
    # By the first layer that changes: those pairs share their batches.
    pairs = sorted(combinations(range(len(heads)), 2), key=lambda pair: min(heads[i] for i in pair))
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[start : start + PAIRS_AT_ONCE]
        effects = removal.clean - removal([[heads[i], heads[j]] for i, j in some])
        for (i, j), effect in zip(some, effects, strict=True):
            together[i, j] = together[j, i] = effect
        if progress is not None:
            progress(start + len(some), len(pairs))
    return Synergy(heads, removal.value, removal.mode, alone.T, together.transpose(2, 0, 1))
