"""Do methods agree with each other, and with themselves under other random numbers?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from ...models.errors import HeadscopeError
from .cells import Maps, checked, onto
from .ranks import rank_correlation


@final
@dataclass(frozen=True, eq=False)
class MapAgreement:
    """Spearman's ρ between the maps of every two methods, image by image."""

    names: tuple[str, ...]
    rho: Float[np.ndarray, "method method image"]
    """1: the same order of cells, 0: unrelated, −1: reversed; NaN where both maps are flat."""

    @property
    def mean(self) -> Float[np.ndarray, "method method"]:
        """Over the images that have a value."""
        there = np.isfinite(self.rho)
        total = np.where(there, self.rho, 0).sum(-1)
        return np.where(there.any(-1), total / np.maximum(there.sum(-1), 1), np.nan)


def map_agreement(maps: Mapping[str, Maps], *, grid: tuple[int, int] | None = None) -> MapAgreement:
    """Rank correlation between methods on one grid, by default the coarsest of theirs.

    Raises:
        HeadscopeError: no maps, or of different images.
    """
    if not maps:
        raise HeadscopeError("There are no maps to compare: give those of at least one method.")
    n_images = len(next(iter(maps.values())))
    good = {name: checked(of, n_images, name=name) for name, of in maps.items()}
    rows, columns = zip(*(of.shape[1:] for of in good.values()), strict=True)
    common = [onto(of, grid or (min(rows), min(columns))) for of in good.values()]
    rho = np.stack([np.stack([rank_correlation(a, b) for b in common]) for a in common])
    return MapAgreement(tuple(maps), rho)


def seed_stability(maps: Sequence[Maps]) -> Float[np.ndarray, " image"]:
    """Mean ρ between the maps of one method under every two seeds; 1 where nothing is by lot.

    Raises:
        HeadscopeError: fewer than two seeds.
    """
    if len(maps) < 2:
        raise HeadscopeError(f"Stability needs maps by two seeds or more, got {len(maps)}.")
    pairs = [
        rank_correlation(first, second)
        for index, first in enumerate(maps)
        for second in maps[index + 1 :]
    ]
    return np.mean(pairs, axis=0)
