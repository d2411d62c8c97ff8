"""How sure the mean score of a head is, and whether two heads differ.

Scores are the raw ones of a study, `image, layer, head`, NaN where a layer lacks the head or an
image is not done. Images are what is resampled, the same ones for all heads, so that heads stay
comparable within a resample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ...models.errors import HeadscopeError

Scores = NDArray[np.float64]
Head = tuple[int, ...]
"""Where a head stands in the axes after the image: `(layer, head)`."""

RESAMPLES = 2_000
"""Bootstrap samples: the ends of a 95 % interval then rest on 50 of them each."""

FLIPS = 19_999
"""Random sign flips; with the observed signs the smallest p is 1/20,000."""

_RESAMPLES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Interval:
    """The mean over images with an interval for it; units and sign are those of the scores."""

    mean: Scores
    """`layer, head`; NaN where no image has a value."""
    low: Scores
    high: Scores
    """`layer, head`; NaN where there is no honest interval."""
    n_images: NDArray[np.int64]
    """`layer, head`: images with a value."""
    confidence: float
    method: str
    reason: str
    """Why some heads have no interval; empty when all have one."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Paired tests of heads, one a pair."""

    pairs: tuple[tuple[Head, Head], ...]
    difference: Scores
    """`pair`: mean score of the first head minus that of the second."""
    p: Scores
    """`pair`: two-sided; NaN where there is no honest test."""
    adjusted: Scores
    """`pair`: p corrected for the number of pairs; compare it with the level."""
    n_images: NDArray[np.int64]
    """`pair`: images on which both heads have a score."""
    test: str
    correction: str
    reason: str
    """Why some pairs have no p; empty when all have one."""


def t_interval(scores: Scores, confidence: float = 0.95) -> Interval:
    """mean ± t · sd / √n, Student's t at n − 1 degrees of freedom: quick, for display.

    For scores far from normal (a few images carry the mean) it needs many images, and
    `bootstrap_interval` is better. From 3 images on.
    """
    scores = _checked(scores, confidence)
    n, mean, sd = _moments(scores)
    enough = n >= 3
    degrees = np.where(enough, n - 1, 1)
    half = stats.t.ppf((1 + confidence) / 2, degrees) * sd / np.sqrt(np.maximum(n, 1))
    half = np.where(enough, half, np.nan)
    return Interval(
        mean, mean - half, mean + half, n, confidence, "t", _too_few(n, enough, "3 images")
    )


def bootstrap_interval(
    scores: Scores,
    confidence: float = 0.95,
    *,
    method: Literal["bca", "percentile"] = "bca",
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean over images: bias-corrected and accelerated, or percentile.

    BCa is the default: importance is skewed (most images hardly need a head, a few do), and BCa
    corrects for skewness to second order where the percentile interval does not; unlike the
    studentised bootstrap it never leaves the range of the scores. The acceleration of a mean is
    known: Σ(x − x̄)³ / (6 (Σ(x − x̄)²)^1.5), the value that the jackknife gives.

    The interval lies within the range of the scores, and that range holds the centre of a
    symmetric distribution with probability 1 − 2^(1−n): below the asked confidence (6 images for
    95 %) there is no interval. Efron, JASA 82 (1987); DiCiccio and Efron, Statist. Sci. 11 (1996).
    """
    scores = _checked(scores, confidence)
    n, mean, sd = _moments(scores)
    shape, flat = n.shape, scores.reshape(len(scores), -1)
    drawn = np.sort(np.concatenate(list(resampled_means(flat, n_resamples, seed))), axis=0)
    tail = (1 - confidence) / 2
    levels = np.broadcast_to(np.array([tail, 1 - tail])[:, None], (2, flat.shape[1]))
    if method == "bca":
        levels = _bca_levels(levels, drawn, flat, mean.ravel())
    ends = _quantiles(drawn, levels).reshape(2, *shape)
    enough = 2.0 ** (1 - n) <= 1 - confidence
    # A constant has no spread to resample: the interval is the point.
    low, high = np.where(enough, np.where(sd > 0, ends, mean), np.nan)
    least = int(np.ceil(1 - np.log2(1 - confidence)))
    return Interval(mean, low, high, n, confidence, method, _too_few(n, enough, f"{least} images"))


def resampled_means(
    flat: NDArray[np.float64], n_resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Means over resampled images, `resample column`, a few hundred at a time.

    The same images for all columns; an image without a value for a column does not count in it.
    """
    generator, n = np.random.default_rng(seed), len(flat)
    valid = np.isfinite(flat)
    values, share = np.where(valid, flat, 0), np.full(n, 1 / max(n, 1))
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, n_resamples - start)
        times = generator.multinomial(n, share, size).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a column that a resample missed: NaN
            yield (times @ values) / (times @ valid)


def compare_heads(
    scores: Scores,
    pairs: Sequence[tuple[Head, Head]],
    *,
    test: Literal["sign-flip", "t"] = "sign-flip",
    correction: Literal["holm", "benjamini-hochberg", "none"] = "holm",
    n_flips: int = FLIPS,
    seed: int = 0,
) -> Comparison:
    """Are two heads different? A paired test on the images that both have, for each pair.

    "sign-flip": were the heads alike, each image's difference could as well have the other sign;
    p is the share of sign patterns whose |mean difference| is at least the observed one. Exact
    (all 2ⁿ patterns) where there are no more of them than `n_flips`, else drawn, the observed one
    counted in. "t": the paired t test, for p below 1 / `n_flips`.

    "holm" bounds the chance of any false difference, "benjamini-hochberg" the share of false ones
    among those found. Pairs that were chosen by looking at the same scores (the top k) make p
    slightly optimistic: the family corrected for is that of the pairs given.
    Holm, Scand. J. Statist. 6 (1979); Benjamini and Hochberg, JRSS B 57 (1995).
    """
    scores = _checked(scores, 0.95)
    if not pairs:
        raise HeadscopeError("No pairs of heads to compare: give at least one.")
    first, second = (np.stack([scores[:, *pair[side]] for pair in pairs], 1) for side in (0, 1))
    differences = first - second
    n, mean, sd = _moments(differences)
    if test == "t":
        enough, least = (n >= 3) & ((sd > 0) | (mean == 0)), "3 images whose differences vary"
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(sd > 0, np.abs(mean) / sd * np.sqrt(n), 0)
        p = np.where(enough, 2 * stats.t.sf(t, np.maximum(n - 1, 1)), np.nan)
    else:
        enough, least = n >= 2, "2 images"
        p = np.where(enough, _sign_flip(differences, n_flips, seed), np.nan)
    adjust = {"holm": holm, "benjamini-hochberg": benjamini_hochberg, "none": np.copy}[correction]
    reason = _too_few(n, enough, least)
    return Comparison(tuple(pairs), mean, p, adjust(p), n, test, correction, reason)


def against_all(scores: Scores, head: Head) -> list[tuple[Head, Head]]:
    """The pairs of one head with every other that has scores."""
    return [(head, other) for other in _ranked(scores) if other != head]


def top_pairs(scores: Scores, k: int) -> list[tuple[Head, Head]]:
    """All pairs of the k heads with the largest mean; the larger one first."""
    top = _ranked(scores)[:k]
    return [(a, b) for i, a in enumerate(top) for b in top[i + 1 :]]


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment: max over the smaller ones of (m − rank + 1) p, at most 1.

    NaN stays, and does not count as a test.
    """
    adjusted, tested = np.full(p.shape, np.nan), np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjustment for the false discovery rate; NaN as in `holm`."""
    adjusted, tested = np.full(p.shape, np.nan), np.isfinite(p)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted


def _checked(scores: Scores, confidence: float) -> Scores:
    if not 0 < confidence < 1:
        raise HeadscopeError(f"Confidence {confidence} must lie between 0 and 1, such as 0.95.")
    scores = np.asarray(scores, np.float64)
    if scores.ndim < 2 or not len(scores):
        raise HeadscopeError(
            f"Scores of shape {scores.shape} need one or more images, and an axis of heads."
        )
    return scores


def _moments(scores: Scores) -> tuple[NDArray[np.int64], Scores, Scores]:
    """Images with a value, their mean, and their standard deviation (n − 1)."""
    valid = np.isfinite(scores)
    n, values = valid.sum(0), np.where(valid, scores, 0)
    mean = np.where(n > 0, values.sum(0) / np.maximum(n, 1), np.nan)
    # Rounding of the mean must not give a constant a spread.
    constant = np.where(valid, scores, -np.inf).max(0) == np.where(valid, scores, np.inf).min(0)
    deviation = np.where(valid & ~constant, scores - mean, 0)
    return n, mean, np.sqrt((deviation**2).sum(0) / np.maximum(n - 1, 1))


def _too_few(n: NDArray[np.int64], enough: NDArray[np.bool_], least: str) -> str:
    """One sentence on the heads that have some images, but not enough."""
    short = ~enough & (n > 0)
    if not short.any():
        return ""
    return f"{n[short].max()} image(s) are too few to say: it takes at least {least}."


def _bca_levels(
    levels: NDArray[np.float64],
    drawn: NDArray[np.float64],
    flat: NDArray[np.float64],
    mean: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The levels at which BCa reads the resampled means, `end column`."""
    # Ties count half, as scores with few values make many equal means.
    below = ((drawn < mean).mean(0) + (drawn <= mean).mean(0)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = stats.norm.ppf(below)
        deviation = flat - mean
        skew = np.nansum(deviation**3, 0) / (6 * np.nansum(deviation**2, 0) ** 1.5)
        z = bias + stats.norm.ppf(levels)
        corrected = stats.norm.cdf(bias + z / (1 - skew * z))
    return np.where(np.isfinite(corrected), corrected, levels)


def _quantiles(ordered: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear quantiles of each sorted column, at each column's own levels; NaN sorts last."""
    counted = np.isfinite(ordered).sum(0)
    place = levels * np.maximum(counted - 1, 0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(counted - 1, 0))
    columns = np.arange(ordered.shape[1])
    a, b = ordered[lower, columns], ordered[upper, columns]
    return a + (b - a) * (place - lower)


def _sign_flip(differences: Scores, n_flips: int, seed: int) -> NDArray[np.float64]:
    """Two-sided p of each column under flips of whole images."""
    # Images that a pair lacks are 0 and change nothing.
    values = np.where(np.isfinite(differences), differences, 0)
    n, observed = len(values), np.abs(values.sum(0))
    # Sums of the same numbers in another order differ by rounding, and are ties.
    observed = observed - 1e-12 * np.abs(values).sum(0)
    exact = n < 63 and 2**n <= n_flips
    total, extreme = (2**n if exact else n_flips), np.zeros(values.shape[1])
    generator = np.random.default_rng(seed)
    for start in range(0, total, 1024):
        size = min(1024, total - start)
        if exact:
            bits = (np.arange(start, start + size)[:, None] >> np.arange(n)) & 1
        else:
            bits = generator.integers(2, size=(size, n))
        extreme += (np.abs((2.0 * bits - 1) @ values) >= observed).sum(0)
    return extreme / total if exact else (extreme + 1) / (total + 1)


def _ranked(scores: Scores) -> list[Head]:
    """Heads that have scores, largest mean first; ties by place."""
    n, mean, _ = _moments(np.asarray(scores, np.float64))
    order = np.argsort(-mean, axis=None, kind="stable")
    places = zip(*np.unravel_index(order, mean.shape), strict=True)
    return [head for head in (tuple(map(int, place)) for place in places) if n[head]]
