"""How alike two maps are, by rank."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from .cells import Maps


def rank_correlation(first: Maps, second: Maps) -> Float[np.ndarray, " image"]:
    """Spearman's ρ over the cells of each image, −1…1.

    0 where one of the two is the same everywhere and the other is not: it says nothing of it. NaN
    where both are.
    """
    a, b = (_centred(maps.reshape(len(maps), -1)) for maps in (first, second))
    length = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    flat = np.where((a == 0).all(1) & (b == 0).all(1), np.nan, 0.0)
    return np.where(length > 0, (a * b).sum(1) / np.where(length > 0, length, 1), flat)


def _centred(values: Float[np.ndarray, "image cell"]) -> Float[np.ndarray, "image cell"]:
    ranks = stats.rankdata(values, axis=1)
    return ranks - ranks.mean(1, keepdims=True)
