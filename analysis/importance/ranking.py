"""Heads in the order of their importance, with what is known about each place."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from .intervals import Interval, Scores, bootstrap_interval, t_interval
from .race import Race

Head = tuple[int, int]
Place = Literal["among the top", "not among the top", "undecided", ""]
BOOTSTRAP_FROM = 6
"""Images; below, Student's t is all that there is, and below 3 nothing is."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Heads, the most important first; all lists and arrays are by rank."""

    heads: tuple[Head, ...]
    label: str
    """What the score is."""
    units: str
    mean: Float[np.ndarray, " rank"]
    low: Float[np.ndarray, " rank"]
    """NaN where there is no honest interval."""
    high: Float[np.ndarray, " rank"]
    n_images: tuple[int, ...]
    """Images that each head was scored on."""
    interval: str
    """What the interval is, in words; empty where no head has one."""
    reason: str = ""
    """Why heads have no interval."""
    flagged: frozenset[Head] = frozenset()
    """Heads about which two ablations disagree."""
    places: tuple[Place, ...] = field(default=())
    """What a race says of each head; empty where there was none."""

    def rank(self, head: Head) -> int | None:
        """From 0; None for a head without a score."""
        return self.heads.index(head) if head in self.heads else None

    def neighbours(self, head: Head, n: int = 2) -> list[Head]:
        """Up to `n` heads before and `n` after a head, by rank."""
        rank = self.rank(head)
        if rank is None:
            return []
        near = range(max(0, rank - n), min(len(self.heads), rank + n + 1))
        return [self.heads[place] for place in near if place != rank]


def ranking(
    scores: Scores,
    *,
    label: str,
    units: str,
    flagged: Bool[np.ndarray, "layer head"] | None = None,
    confidence: float = 0.95,
) -> Ranking:
    """Heads by their mean score over images, with a bootstrap interval where images suffice.

    With 3 to 5 images the interval is Student's t, with fewer there is none, and a reason.

    Args:
        scores: `image, layer, head`; NaN where there is no head, or an image is not done.
        label: what the score is.
        units: of the score.
        flagged: heads about which two ablations disagree.
        confidence: of the intervals.
    """
    n_done = int(np.isfinite(scores).any((1, 2)).sum())
    found = (
        bootstrap_interval(scores, confidence)
        if n_done >= BOOTSTRAP_FROM
        else t_interval(scores, confidence)
    )
    names = {"bca": "bootstrap (BCa) over images", "t": "Student's t over images"}
    order = _by_mean(found)
    at = tuple(np.array(order, dtype=int).reshape(-1, 2).T)
    there = np.isfinite(found.low[at]).any()
    return Ranking(
        heads=tuple(order),
        label=label,
        units=units,
        mean=found.mean[at],
        low=found.low[at],
        high=found.high[at],
        n_images=tuple(int(n) for n in found.n_images[at]),
        interval=f"{confidence:.0%} interval, {names[found.method]}" if there else "",
        reason=found.reason,
        flagged=frozenset()
        if flagged is None
        else frozenset((int(layer), int(head)) for layer, head in np.argwhere(flagged)),
    )


def race_ranking(race: Race, *, label: str, units: str) -> Ranking:
    """Heads as a race has them: those that are in, the undecided, those that are out; by mean.

    Before two images of a head its interval is unbounded, which is shown as none.
    """
    bounds = race.bounds
    group = np.where(race.inside, 0, np.where(race.outside, 2, 1))
    score = np.nan_to_num(bounds.mean, nan=-np.inf)
    heads = [(int(layer), int(head)) for layer, head in np.argwhere(race.present)]
    heads.sort(key=lambda head: (group[head], -score[head], head))
    at = tuple(np.array(heads, dtype=int).reshape(-1, 2).T)
    words: tuple[Place, ...] = ("among the top", "undecided", "not among the top")

    def end(values: Float[np.ndarray, "layer head"]) -> Float[np.ndarray, " rank"]:
        return np.where(np.isfinite(values[at]), values[at], np.nan)

    return Ranking(
        heads=tuple(heads),
        label=label,
        units=units,
        mean=bounds.mean[at],
        low=end(bounds.low),
        high=end(bounds.high),
        n_images=tuple(int(n) for n in bounds.n_images[at]),
        interval=f"{bounds.confidence:.0%} intervals that hold for all heads and at all times "
        "together, in large samples",
        reason="" if race.n_images > 1 else "No head has been measured on two images yet.",
        places=tuple(words[group[head]] for head in heads),
    )


def _by_mean(found: Interval) -> list[Head]:
    heads = [(int(layer), int(head)) for layer, head in np.argwhere(np.isfinite(found.mean))]
    return sorted(heads, key=lambda head: (-found.mean[head], head))
