"""A race for the most important heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..jobs import Job
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint
    from ...analysis.importance.race import RaceResult
    from ...analysis.importance.ranking import Ranking

TOP = 10
"""Heads that a race looks for."""
BATCH = 10
"""Images of a race between two looks."""


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a race stands."""

    ranking: "Ranking"
    result: "RaceResult"
    k: int
    contest: "Contest | None"
    """To go on with where it was stopped; a result keeps no checkpoint in memory."""


class Contest:
    """A race of a checkpoint's heads over pictures; it can be stopped, and goes on from there."""

    def __init__(self, checkpoint: "Checkpoint", pictures: Pictures) -> None:
        from ...analysis.importance.scorer import first_metric, heads_there

        self.checkpoint, self.pictures = checkpoint, pictures
        self.metric = first_metric(checkpoint)
        self._there = heads_there(checkpoint)
        self._weights: list[Float[np.ndarray, " image"]] = []
        self._race: Any = None

    def run(self, job: "Job[Standing]") -> Standing:
        """The race, until the top heads are known or the job is stopped."""
        from ...analysis.importance.race import run_until

        if self._race is None:
            self._race = self._start(job)

        def tell(_race: Any) -> None:
            standing = self._standing()
            seen, known = standing.result.n_images, len(standing.result.top)
            job.report(
                seen / self.pictures.n,
                f"{seen:,} of at most {self.pictures.n:,} {self.pictures.words}; "
                f"{known} of the top {standing.k} heads known",
                standing,
            )

        run_until(self._score, self._race, batch=BATCH, on_batch=tell)
        job.so_far = self._standing(ended=True)
        return job.so_far

    def _start(self, job: "Job[Standing]") -> Any:
        """A new race, in which pictures that the model is unsure of come early.

        Weights of one pass before the first ablation; without classes the order is uniform.
        """
        from ...analysis.importance.evidence import draw_order, uncertainty
        from ...analysis.importance.race import Race

        n, there = self.pictures.n, int(self._there.sum())
        while self.checkpoint.has_classes and (done := sum(map(len, self._weights))) < n:
            job.report(done / n, f"Reading the predictions: {done:,} of {n:,} images")
            places = range(done, min(n, done + 2 * BATCH))
            logits = self.checkpoint.run(self._batch(places)).double().cpu().numpy()
            self._weights.append(uncertainty(logits))
        weights = np.concatenate(self._weights) if self._weights else None
        # Of few heads all would be among the top.
        return Race(self._there, draw_order(n, weights), min(TOP, max(1, there // 2)))

    def _batch(self, places: Sequence[int]) -> Any:
        return self.checkpoint.prepare(self.pictures.crops(self.checkpoint, places))

    def _score(self, places: Any, heads: Any) -> Any:
        from ...analysis.importance.scorer import head_scores

        batch = self._batch(places.tolist())
        return head_scores(self.checkpoint, batch, heads, self.metric)[:, heads]

    def _standing(self, *, ended: bool = False) -> Standing:
        from ...analysis.importance.ranking import race_ranking

        race = self._race
        ranking = race_ranking(race, label=self.metric.long_name, units=self.metric.units)
        return Standing(ranking, race.result, race.k, None if ended else self)
