"""How far one number of heads goes with another: Spearman's ρ over heads, sure or not.

The question that Li et al. (2023) end on, why the important heads are important, put as a number:
do heads that score high on a strength score high on importance, too?
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

LEAST_HEADS = 4
"""Ranks of fewer heads say nothing."""
LEAST_IMAGES = 6
"""As for the intervals of single heads: below, the range of the values holds too little."""
RESAMPLES = 1_000


@dataclass(frozen=True, eq=False)
class Association:
    """Spearman's ρ between two numbers of the same heads."""

    rho: float
    """Of the means over images, −1…1; NaN where there are too few heads, or all are alike."""
    low: float
    high: float
    """Ends of the 95 % interval over images; NaN where there is none."""
    n_heads: int
    n_images: int
    reason: str
    """Why there is no ρ, or no interval; empty where there are both."""


def association(
    x: Float[np.ndarray, "image layer head"],
    y: Float[np.ndarray, "image layer head"],
    *,
    seed: int = 0,
) -> Association:
    """Spearman's ρ over heads of two numbers' means over the same images.

    The interval is a percentile bootstrap over images, the same images for both numbers: it says
    how much ρ hangs on which images there are. It does not say that the heads are a sample of
    anything: they are all there is.

    Heads that lack either number in every image are left out.
    """
    kept = ~(np.isnan(x).all(0) | np.isnan(y).all(0))
    flat = np.stack([x[:, kept], y[:, kept]])  # what, image, head
    there = ~np.isnan(flat)
    n_images, n_heads = flat.shape[1:]
    if n_heads < LEAST_HEADS:
        reason = f"{n_heads} heads have both numbers; a rank correlation needs {LEAST_HEADS}."
        return Association(np.nan, np.nan, np.nan, n_heads, n_images, reason)
    filled = np.where(there, flat, 0.0)
    rho = _spearman(filled.sum(1) / there.sum(1))
    if np.isnan(rho):
        reason = "One of the numbers is the same for all heads."
        return Association(np.nan, np.nan, np.nan, n_heads, n_images, reason)
    if n_images < LEAST_IMAGES:
        reason = f"An interval needs {LEAST_IMAGES} images; there are {n_images}."
        return Association(rho, np.nan, np.nan, n_heads, n_images, reason)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        # How often each image is drawn; sums are then products.
        times = np.bincount(generator.integers(0, n_images, n_images), minlength=n_images)
        counts = np.einsum("i,wih->wh", times, there)
        sums = np.einsum("i,wih->wh", times, filled)
        both = (counts > 0).all(0)
        drawn.append(_spearman(sums[:, both] / counts[:, both]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Association(rho, float(low), float(high), n_heads, n_images, "")


def rank_correlations(
    numbers: Sequence[Float[np.ndarray, "layer head"]], y: Float[np.ndarray, "layer head"]
) -> Float[np.ndarray, " number"]:
    """Spearman's ρ over heads of several numbers, each with `y`; NaN as in `association`."""
    found = []
    for x in numbers:
        kept = np.isfinite(x) & np.isfinite(y)
        enough = kept.sum() >= LEAST_HEADS
        found.append(_spearman(np.stack([x[kept], y[kept]])) if enough else np.nan)
    return np.array(found)


def _spearman(values: Float[np.ndarray, "2 head"]) -> float:
    first, second = (rankdata(row) - (len(row) + 1) / 2 for row in values)
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / spread) if spread else float("nan")
