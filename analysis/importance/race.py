"""The k most important heads from as few images as are sure: successive elimination, anytime.

Every pair of undecided heads is compared on shared images. A head is out as soon as k others are
surely above it, in as soon as all but k are surely below it, and in both cases needs no more
ablations; the rest goes on until exactly k are known. When all images are seen the means are exact.

Were a decision wrong, some head of the true k would have been claimed to lie below some head that
is not of them. There are k (n − k) such pairs, whatever the true k are: with each claim at level
(1 − confidence) / (k (n − k)), valid at every stopping time, all decisions are right with the asked
confidence, whenever the race is stopped, looked at, or goes on. "True" means the k heads with the
largest mean over all images of the order. Even-Dar, Mannor and Mansour, JMLR 7 (2006).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.errors import HeadscopeError
from .evidence import Array, Bounded, Evidence, LargeSample, Order, mixing_scale

Mask = NDArray[np.bool_]
Head = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Means with intervals that hold for all heads and at all times together, in large samples."""

    mean: Array
    low: Array
    high: Array
    """`layer, head`; NaN for heads that are not there, −∞ and ∞ before two images."""
    n_images: NDArray[np.int64]
    """`layer, head`: images each head was scored on; a decided head's interval stays."""
    confidence: float


@dataclass(frozen=True)
class RaceResult:
    """How a race ended."""

    top: list[Head]
    """The k heads, best estimate first, as far as they are known."""
    decided: bool
    interchangeable: list[Head]
    """Those told apart by the indifference only: another may stand in their place."""
    n_images: int
    n_images_in_all: int
    share_of_ablations: float
    """Head-images that were scored, of all heads on all images."""


class Race:
    """Which k heads have the largest mean score over a finite set of images?"""

    def __init__(
        self,
        present: Mask,
        order: Order,
        k: int = 10,
        *,
        confidence: float = 0.95,
        bound: float | None = None,
        indifference: float = 0.0,
    ) -> None:
        """Set up a race in which all heads are undecided.

        Args:
            present: `layer, head`: the heads that exist.
            order: from `draw_order`.
            k: heads to find; where there are no more, all are in at once.
            confidence: that all decisions are right, at any time.
            bound: largest |difference| that two heads can have on one image, in the unit of the
                score: 1 for a drop of probability (both lie within p − 1 and p), ln 2 for the
                Jensen-Shannon divergence. Given, the confidence holds for any scores (`Bounded`);
                None: as images grow many (`LargeSample`), with a fraction of the images.
            indifference: in the unit of the score. 0: the exact k. ε > 0: the race also ends when
                no head left out exceeds one that is in by more than ε, surely; decisions made
                before that are exact, the others are listed as interchangeable. 0.01 (one
                percentage point) is a sensible ε for a drop of probability.
        """
        if k < 1:
            raise HeadscopeError(f"The {k} most important heads were asked for: give at least 1.")
        if not 0 < confidence < 1:
            raise HeadscopeError(f"Confidence {confidence} must lie between 0 and 1, such as 0.95.")
        if indifference < 0 or (bound is not None and not bound > 0):
            raise HeadscopeError(
                f"Indifference {indifference} and bound {bound} must not be negative; "
                "leave them out where unsure."
            )
        self.present, self.order, self.k = np.asarray(present, bool), order, k
        self.confidence, self.indifference = confidence, indifference
        self.n_images, self.n_head_images = 0, 0
        self.inside, self.outside, self.interchangeable = (
            np.zeros(self.present.shape, bool) for _ in range(3)
        )
        n = int(self.present.sum())
        claims = max(k * (n - k), 1) * (2 if indifference else 1)
        self._level = (1 - confidence) / claims
        shifts = [0.0, indifference] if indifference else [0.0]
        self._evidence: list[Evidence] = [
            LargeSample(n, order, shift, self._level)
            if bound is None
            else Bounded(n, order, shift, bound)
            for shift in shifts
        ]
        self._seen = np.zeros(self.present.shape)
        self._draws: list[Array] = []
        if n <= k:
            self.inside[self.present] = True

    @property
    def undecided(self) -> Mask:
        """`layer, head`: heads that may still be in or out: those to score on the next images."""
        return self.present & ~self.inside & ~self.outside

    @property
    def decided(self) -> bool:
        """Are exactly the k heads known?"""
        return not self.undecided.any()

    @property
    def n_left(self) -> int:
        """Images not seen yet."""
        return len(self.order) - self.n_images

    def update(self, scores: Array) -> None:
        """Take in the next images of the order, and decide what they make sure.

        Args:
            scores: `image, layer, head`, or `image, head` for the undecided heads alone, in the
                order of `undecided`. Scores of decided heads are not looked at.
        """
        scores, active = np.asarray(scores, np.float64), self.undecided
        shape = scores.shape[1:]
        if shape == self.present.shape:
            scores = scores[:, active]
        if scores.shape[1:] != (active.sum(),) or len(scores) > self.n_left:
            raise HeadscopeError(
                f"Scores of shape {(len(scores), *shape)} do not fit {active.sum()} undecided "
                f"heads and {self.n_left} images left: give one row an image."
            )
        if not np.isfinite(scores).all():
            raise HeadscopeError(
                "Some scores are missing or not finite: every undecided head needs one an image."
            )
        if self.decided:
            return
        for row in scores:
            self._take(row, active)
        self._decide()

    @property
    def bounds(self) -> Bounds:
        """Means and intervals of all heads so far, for display.

        mean ± √Σ (λ (draw − mean))² / Σ λ · √((1 + r) / r · (2 log (n / α) + log (1 + r))): the
        two-sided boundary of `LargeSample` for each head. Decisions rest on pairs, which are
        tighter: intervals of heads that are told apart may overlap.
        """
        draws = np.array(self._draws).reshape(-1, *self.present.shape)
        scored = np.isfinite(draws)
        n = scored.sum(0)
        steps = (slice(None, len(draws)), *[None] * self.present.ndim)
        weights = np.where(scored, self.order.precision[steps], 0)
        total = np.maximum(weights.sum(0), 1e-300)
        mean = (weights * np.where(scored, draws, 0)).sum(0) / total
        spread = np.sqrt(((weights * np.where(scored, draws - mean, 0)) ** 2).sum(0)) / total
        alpha = (1 - self.confidence) / max(int(self.present.sum()), 1)
        r = mixing_scale(self.order, alpha / 2) * total
        width = spread * np.sqrt((1 + r) / r * (np.log1p(r) - 2 * np.log(alpha)))
        width = np.where(n > 1, width, np.inf)
        width = np.where(n == len(self.order), 0, width)
        mean = np.where(n == len(self.order), self._seen / len(self.order), mean)
        mean = np.where(n > 0, mean, np.nan)
        low, high = (
            np.where(self.present, np.nan_to_num(mean) + s * width, np.nan) for s in (-1, 1)
        )
        return Bounds(mean, low, high, n, self.confidence)

    @property
    def result(self) -> RaceResult:
        """What is known now."""
        mean = np.nan_to_num(self.bounds.mean, nan=-np.inf)
        heads = self._heads(self.inside)
        return RaceResult(
            top=sorted(heads, key=lambda head: -mean[head]),
            decided=self.decided,
            interchangeable=self._heads(self.interchangeable),
            n_images=self.n_images,
            n_images_in_all=len(self.order),
            share_of_ablations=self.n_head_images / (len(self.order) * int(self.present.sum())),
        )

    def _heads(self, mask: Mask) -> list[Head]:
        return [tuple(map(int, place)) for place in np.argwhere(mask)]

    def _take(self, row: Array, active: Mask) -> None:
        for evidence in self._evidence:
            evidence.add(row)
        weight, left = self.order.weight[self.n_images], self.order.left[self.n_images]
        draw = np.full(self.present.shape, np.nan)
        draw[active] = (self._seen[active] + left * row / weight) / len(self.order)
        self._draws.append(draw)
        self._seen[active] += row
        self.n_images += 1
        self.n_head_images += len(row)

    def _decide(self) -> None:
        if not self.n_left:
            self._settle(self._best(), tolerated=False)
            return
        while not self.decided:
            sure = self._claims(0)
            open_places = self.k - int(self.inside.sum())
            n = len(sure)
            is_in, is_out = sure.sum(1) >= n - open_places, sure.sum(0) >= open_places
            if not (is_in | is_out).any():
                break
            self._close(is_in, is_out)
        if self.indifference and not self.decided:
            best = self._best()
            if self._claims(1)[np.ix_(best, ~best)].all():
                self._settle(best, tolerated=True)

    def _claims(self, which: int) -> Mask:
        """`head, head` of the undecided: the first surely exceeds the second (less the shift)."""
        sure = self._evidence[which].log() >= -np.log(self._level)
        np.fill_diagonal(sure, val=False)
        return sure

    def _best(self) -> Mask:
        """Those of the undecided that fill the open places, by what was seen; ties by place."""
        bounds = self.bounds.mean if self.n_left else self._seen
        order = np.argsort(-bounds[self.undecided], kind="stable")
        best = np.zeros(len(order), bool)
        best[order[: self.k - int(self.inside.sum())]] = True
        return best

    def _close(self, is_in: Mask, is_out: Mask) -> None:
        """Decide some of the undecided heads."""
        active = self.undecided
        self.inside[active], self.outside[active] = is_in, is_out & ~is_in
        for evidence in self._evidence:
            evidence.keep(~(is_in | is_out))

    def _settle(self, best: Mask, *, tolerated: bool) -> None:
        """Decide all that are left."""
        if tolerated:
            self.interchangeable[self.undecided] = True
        self._close(best, ~best)


Scorer = Callable[[NDArray[np.int64], Mask], Array]
"""Images by index and the heads to score, `layer, head`, to `image, layer, head` (decided heads may
be NaN) or `image, head` for those heads alone."""


def run_until(
    scorer: Scorer,
    race: Race,
    *,
    batch: int = 10,
    on_batch: Callable[[Race], None] | None = None,
) -> RaceResult:
    """Score images in the race's order until it is decided.

    Args:
        scorer: gives the scores of some images; it can skip the decided heads.
        race: new, or one that was stopped.
        batch: images between two looks. Small batches stop sooner; looking costs no confidence.
        on_batch: told after each look, to show `race.bounds`; whatever it raises stops the run, and
            the race can go on from there.
    """
    if batch < 1:
        raise HeadscopeError(f"A batch of {batch} images is not possible: take at least 1.")
    while not race.decided:
        images = race.order.index[race.n_images : race.n_images + batch]
        race.update(scorer(images, race.undecided))
        if on_batch is not None:
            on_batch(race)
    return race.result
