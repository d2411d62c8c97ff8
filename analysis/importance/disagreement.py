"""Heads about which two ablations do not agree."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from ...models.errors import HeadscopeError
from ..study import Study

N_RESAMPLES = 1000
_AT_ONCE = 2_000_000
"""Numbers in one part of the resamples: 16 MB."""


@dataclass(frozen=True)
class Disagreement:
    """Where two ablations disagree about a head: all arrays are `layer head`, NaN (or False) where
    there is no such head.

    Zeroing a head puts the layers after it where they never were (arXiv 2604.14433), so a head that
    counts when zeroed and hardly when replaced by its mean says little about the image.
    """

    metric: str
    ablations: tuple[str, str]
    units: str
    level: float
    """Of the intervals, percentiles of paired resamples of the images."""
    moved: float
    """Share of all heads that a rank must move by to count."""
    n_images: int
    difference: Float[np.ndarray, "layer head"]
    """Mean over images of the first ablation's score minus the second's, image by image."""
    low: Float[np.ndarray, "layer head"]
    high: Float[np.ndarray, "layer head"]
    """The interval of `difference`."""
    rank_shift: Float[np.ndarray, "layer head"]
    """Ranks from most to least important that the head falls from the first ablation to the second,
    as a share of the heads, from −1 to 1; negative: it rises."""
    rank_low: Float[np.ndarray, "layer head"]
    rank_high: Float[np.ndarray, "layer head"]
    """The interval of `rank_shift`."""
    sign_differs: Bool[np.ndarray, "layer head"]
    """The two means have opposite signs, and the interval of their difference leaves out 0."""
    rank_moves: Bool[np.ndarray, "layer head"]
    """The rank moves by more than `moved`, and the interval of its shift leaves out 0."""

    @property
    def flagged(self) -> Bool[np.ndarray, "layer head"]:
        """Sign or rank."""
        return self.sign_differs | self.rank_moves


def disagreement(
    study: Study,
    *,
    metric: str | None = None,
    ablations: tuple[str, str] = ("zero", "mean"),
    moved: float = 0.25,
    level: float = 0.95,
    seed: int = 0,
) -> Disagreement:
    """Heads that matter by one ablation and not, or not alike, by another.

    Args:
        study: with both ablations; images that are not done are left out.
        metric: an importance metric; None: the study's first.
        ablations: the two.
        moved: share of all heads that a rank must move by to count.
        level: of the intervals.
        seed: of the resamples.

    Raises:
        HeadscopeError: the study lacks the metric, an ablation, or two images that are done.
    """
    scores = _scores(study, metric)
    there = scores["ablation"].values.tolist()
    for ablation in ablations:
        if ablation not in there:
            raise HeadscopeError(
                f"{study} has no {ablation!r} ablation; it has: {', '.join(there)}."
            )
    scores = scores.isel(image=np.flatnonzero(study.data["done"].values))
    n_images = scores.sizes["image"]
    if n_images < 2:
        raise HeadscopeError(
            f"Whether ablations disagree is seen on two images or more; {study} has {n_images}."
        )
    pair = [
        scores.sel(ablation=name).transpose("image", "layer", "head").values.astype(float)
        for name in ablations
    ]
    real = np.isfinite(pair[0]).all(0) & np.isfinite(pair[1]).all(0)
    first, second = (values[:, real] for values in pair)

    def shift(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (_ranks(second) - _ranks(first)) / first.shape[-1]

    tail = (1 - level) / 2
    resamples = list(_resampled(first, second, seed))
    differences = np.concatenate([a - b for a, b in resamples])
    shifts = np.concatenate([shift(a, b) for a, b in resamples])
    low, high = np.quantile(differences, [tail, 1 - tail], axis=0)
    rank_low, rank_high = np.quantile(shifts, [tail, 1 - tail], axis=0)
    means = first.mean(0), second.mean(0)
    rank_shift = shift(*means)

    def whole(values: np.ndarray) -> np.ndarray:
        fill = np.zeros(real.shape, bool) if values.dtype == bool else np.full(real.shape, np.nan)
        fill[real] = values
        return fill

    return Disagreement(
        metric=str(scores.name),
        ablations=ablations,
        units=str(scores.attrs.get("units", "")),
        level=level,
        moved=moved,
        n_images=n_images,
        difference=whole(means[0] - means[1]),
        low=whole(low),
        high=whole(high),
        rank_shift=whole(rank_shift),
        rank_low=whole(rank_low),
        rank_high=whole(rank_high),
        sign_differs=whole((means[0] * means[1] < 0) & ((low > 0) | (high < 0))),
        rank_moves=whole((np.abs(rank_shift) > moved) & ((rank_low > 0) | (rank_high < 0))),
    )


def _scores(study: Study, metric: str | None) -> xr.DataArray:
    measured = list(
        dict.fromkeys(str(v.name) for v in study.head_metrics() if "ablation" in v.coords)
    )
    name = metric if metric is not None or not measured else measured[0]
    if name not in measured:
        known = ", ".join(measured) or "none"
        raise HeadscopeError(f"{study} has no importance metric {name!r}; it has: {known}.")
    return study.data[name]


def _resampled(
    first: np.ndarray, second: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Means of both over the same images, drawn with replacement: `resample head`, in parts."""
    random, n_images = np.random.default_rng(seed), len(first)
    at_once = max(1, _AT_ONCE // max(n_images, first.shape[1]))
    for start in range(0, N_RESAMPLES, at_once):
        n = min(at_once, N_RESAMPLES - start)
        weights = random.multinomial(n_images, np.full(n_images, 1 / n_images), n) / n_images
        yield weights @ first, weights @ second


def _ranks(means: Float[np.ndarray, "*resample head"]) -> Float[np.ndarray, "*resample head"]:
    """0 for the most important head; equal ones share the mean of their ranks."""
    return rankdata(-means, axis=-1)
