"""Do two metrics, or two ablations, rank the heads alike?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ...models.errors import HeadscopeError
from .intervals import RESAMPLES, Scores, resampled_means


@dataclass(frozen=True, eq=False)
class Agreement:
    """Kendall's tau-b between every two rankings of the heads; no unit, from −1 to 1."""

    names: tuple[str, ...]
    tau: NDArray[np.float64]
    """`ranking, ranking`: 1 the same order, 0 unrelated, −1 reversed; NaN where one is constant."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """`ranking, ranking`: the bootstrap interval over images."""
    n_images: int
    confidence: float
    reasons: dict[str, str]
    """Why a ranking has no agreement with any: name → sentence."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation between two sets of scores."""

    value: float
    n_heads: int
    reason: str
    """Why it is NaN; empty otherwise."""


def rank_agreement(
    scores: Mapping[str, Scores],
    confidence: float = 0.95,
    *,
    n_resamples: int = RESAMPLES // 4,
    seed: int = 0,
) -> Agreement:
    """Kendall's tau-b between the rankings by mean score, all with all, with bootstrap intervals.

    With s the signs of all differences between two heads' means (a tie is 0),
    tau-b = ⟨s, t⟩ / (|s| |t|): so a matrix product gives all rankings at once. A head that one of
    two rankings lacks does not count between them.

    Args:
        scores: name → `image, layer, head`; the same images and heads throughout. For a study:
            one entry for each metric and ablation.
        confidence: of the intervals.
        n_resamples: resampled sets of images, the same ones for all rankings.
        seed: of the resampling.

    The interval holds both the quantiles of resampled taus and their reflection about tau: noise
    in the means draws tau towards 0, and resampling draws it there once more, so that at high
    agreement the quantiles alone held the true tau in 3 of 10 simulated studies. The two together
    held it in 87 to 97 of 100 at 95 % (24 heads, 50 to 200 images): read it as a rough one. NaN
    below 6 images.
    Kendall, Biometrika 33 (1945); Davison and Hinkley, Bootstrap Methods (1997), 5.2.
    """
    if not scores:
        raise HeadscopeError("No scores to compare: give at least one ranking.")
    arrays = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) < 2:
        raise HeadscopeError(
            f"Scores of shapes {sorted(shapes)} cannot be compared: give the same images and heads."
        )
    n_images = len(next(iter(arrays.values())))
    n_heads = next(iter(arrays.values()))[0].size
    stacked = np.concatenate([values.reshape(n_images, -1) for values in arrays.values()], axis=1)
    counted = np.isfinite(stacked).sum(0)
    observed = np.where(
        counted > 0, np.nansum(stacked, 0) / np.maximum(counted, 1), np.nan
    ).reshape(len(arrays), n_heads)
    tau = _tau_b(observed)
    low, high = np.full_like(tau, np.nan), np.full_like(tau, np.nan)
    if 2.0 ** (1 - n_images) <= 1 - confidence:
        drawn = [
            _tau_b(means.reshape(len(arrays), n_heads))
            for chunk in resampled_means(stacked, n_resamples, seed)
            for means in chunk
        ]
        tail = (1 - confidence) / 2
        lower, upper = np.quantile(np.stack(drawn), (tail, 1 - tail), axis=0)
        low = np.clip(np.minimum(lower, 2 * tau - upper), -1, 1)
        high = np.clip(np.maximum(upper, 2 * tau - lower), -1, 1)
    reasons = {
        name: _constant(row) for name, row in zip(arrays, observed, strict=True) if _constant(row)
    }
    return Agreement(tuple(arrays), tau, low, high, n_images, confidence, reasons)


def spearman(a: Scores, b: Scores) -> RankCorrelation:
    """Spearman's correlation of the ranks of two sets of mean scores, as between two precisions.

    Heads that either lacks do not count; NaN with the reason where a ranking is constant.
    """
    first, second = (np.asarray(values, np.float64).ravel() for values in (a, b))
    if first.shape != second.shape:
        raise HeadscopeError(
            f"Scores of {first.size} and {second.size} heads cannot be compared: give the same."
        )
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    reason = _constant(first) or _constant(second)
    value = np.nan if reason else float(np.corrcoef(*map(stats.rankdata, (first, second)))[0, 1])
    return RankCorrelation(value, int(both.sum()), reason)


def _constant(means: NDArray[np.float64]) -> str:
    """Why these means rank nothing; empty when they do."""
    values = means[np.isfinite(means)]
    if len(values) < 2:
        return f"{len(values)} head(s) have scores: a ranking takes at least two."
    if values.min() == values.max():
        return f"All {len(values)} heads score {values[0]:.3g}: they have no order."
    return ""


def _tau_b(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tau-b between rows, `ranking head` to `ranking ranking`."""
    first, second = np.triu_indices(means.shape[1], k=1)
    difference = means[:, first] - means[:, second]
    valid = np.isfinite(difference)
    sign = np.where(valid, np.sign(difference), 0)
    untied = np.abs(sign) @ valid.T.astype(np.float64)  # pairs that a orders and b has
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sign @ sign.T) / np.sqrt(untied * untied.T)
