"""How far heads are from each other, and what of it is a similarity."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

NOTHING = 1e-12
"""Mean squared distance, beside the mean square of the numbers, below which all heads are alike:
what is left is rounding of the float32 that studies hold."""


def distances(
    sides: Sequence[Float[np.ndarray, "image head entry"]],
) -> Float[np.ndarray, "pair_head pair_head"]:
    """Squared distances between all heads of all sides, image by image, mean over images.

    D = mean over images i and entries e of (x_ie − y_ie)², divided by its mean over all pairs of
    different heads: 0 where two heads have the same numbers in every image, 1 for two heads drawn
    at random. NaN where two heads never have a number in the same image, everywhere where all heads
    are alike.
    """
    values = np.concatenate(sides, axis=1)
    flat = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
    there = np.isfinite(flat)
    # About the mean of each column nothing changes but the rounding.
    count = np.maximum(there.sum(0), 1)
    filled = np.where(there, flat, 0.0)
    filled = np.where(there, filled - filled.sum(0) / count, 0.0)
    mask = there.astype(float)
    squares = (filled**2) @ mask.T
    n = mask @ mask.T
    total = squares + squares.T - 2 * filled @ filled.T
    found = np.where(n > 0, np.maximum(total, 0) / np.maximum(n, 1), np.nan)
    apart = ~np.eye(len(found), dtype=bool) & np.isfinite(found)
    scale = found[apart].mean() if apart.any() else 0.0
    size = np.square(flat, where=there, out=np.zeros_like(flat)).sum() / max(1, there.sum())
    if scale <= NOTHING * size or scale == 0:
        return np.full_like(found, np.nan)
    return found / scale


def similarity(
    parts: Sequence[Float[np.ndarray, "pair_head pair_head"]],
) -> Float[np.ndarray, "pair_head pair_head"]:
    """exp(−D), with D the mean of those distances that are there: 1 for the same numbers, e⁻¹ for
    heads as far apart as heads are on average; NaN where there is none.
    """
    stacked = np.stack(parts)
    there = np.isfinite(stacked)
    count = there.sum(0)
    total = np.where(there, stacked, 0.0).sum(0)
    return np.where(count > 0, np.exp(-total / np.maximum(count, 1)), np.nan)
