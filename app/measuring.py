"""What the page measures in depth, in the background: races, removal curves, synergy.

Plain functions of a checkpoint and pictures that tell a job how far they are. The caps keep what a
demo checkpoint takes below half a minute on one idle core.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from .jobs import Job

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from .. import Checkpoint, Photograph, Study
    from ..analysis.importance.curves import RemovalCurves
    from ..analysis.importance.joint import Head
    from ..analysis.importance.race import RaceResult
    from ..analysis.importance.ranking import Ranking
    from ..analysis.importance.synergy import Synergy

IMAGES = 12
"""Most images that heads are removed together on."""
LEAST_IMAGES = 4
"""Where a checkpoint is large, as far as there are so many."""
STEPS = 12
"""Most numbers of removed heads at which a curve is evaluated, beside none."""
ORDERS = 10
"""Random orders."""
GREEDY = 150
"""Head sets that greedy may try, more or less."""
HEADS = 12
"""Heads whose pairs are tried."""
TOP = 10
"""Heads that a race looks for."""
BATCH = 10
"""Images of a race between two looks."""
_DEMO = 6 * 145 * 128**2
"""The work of one pass of a demo checkpoint: layers × tokens × channels²."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images to measure on, read when their turn comes."""

    key: Hashable
    words: str
    """As in "1,000 demo scenes"."""
    n: int
    crops: "Callable[[Checkpoint, Sequence[int]], UInt8[np.ndarray, 'image row column 3']]"

    def spread(self, most: int) -> list[int]:
        """At most so many of them, evenly over all."""
        return np.unique(np.linspace(0, self.n - 1, min(most, self.n)).round().astype(int)).tolist()


def one_picture(photograph: "Photograph") -> Pictures:
    """The picture that the page shows."""
    return Pictures(
        photograph.digest,
        "this picture",
        1,
        lambda checkpoint, _: checkpoint.crop(photograph)[None],
    )


def of_study(study: "Study") -> Pictures:
    """The images of a study that are done, as the model saw them."""
    done = np.flatnonzero(study.data["done"].values)
    return Pictures(
        str(study.path),
        "images of the study",
        len(done),
        lambda _, places: study.data["pixels"].isel(image=done[list(places)]).values,
    )


def many(checkpoint: "Checkpoint") -> Pictures:
    """What a checkpoint can be measured on without a study: scenes for a demo, else the samples."""
    from ..models.demo.scenes import HELD_OUT, scene
    from ..models.images import read_image
    from ..models.samples import sample_images

    if checkpoint.name.startswith("demo/"):

        def draw(checkpoint: "Checkpoint", places: Sequence[int]) -> Any:
            scenes = [read_image(scene(HELD_OUT[place]).image, name="scene") for place in places]
            return np.stack([checkpoint.crop(photograph) for photograph in scenes])

        return Pictures("scenes", "demo scenes", len(HELD_OUT), draw)
    samples = list(sample_images().values())

    def read(checkpoint: "Checkpoint", places: Sequence[int]) -> Any:
        return np.stack([checkpoint.crop(samples[place].read()) for place in places])

    return Pictures("samples", "sample pictures", len(samples), read)


# -- a race for the top heads ---------------------------------------------------------------------


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
        from ..analysis.importance.scorer import first_metric, heads_there

        self.checkpoint, self.pictures = checkpoint, pictures
        self.metric = first_metric(checkpoint)
        self._there = heads_there(checkpoint)
        self._weights: list[Float[np.ndarray, " image"]] = []
        self._race: Any = None

    def run(self, job: "Job[Standing]") -> Standing:
        """The race, until the top heads are known or the job is stopped."""
        from ..analysis.importance.race import run_until

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
        from ..analysis.importance.evidence import draw_order, uncertainty
        from ..analysis.importance.race import Race

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
        from ..analysis.importance.scorer import head_scores

        batch = self._batch(places.tolist())
        return head_scores(self.checkpoint, batch, heads, self.metric)[:, heads]

    def _standing(self, *, ended: bool = False) -> Standing:
        from ..analysis.importance.ranking import race_ranking

        race = self._race
        ranking = race_ranking(race, label=self.metric.long_name, units=self.metric.units)
        return Standing(ranking, race.result, race.k, None if ended else self)


# -- heads removed together ------------------------------------------------------------------------


@dataclass(frozen=True)
class Together:
    """What is asked about heads together."""

    pictures: Pictures
    value: str
    """What is read of the output."""
    scores: "Float[np.ndarray, 'image layer head'] | None"
    """Importance that gives the order; None: measured first, on the same pictures."""
    metric: str
    """What the scores are called."""
    target: int | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """The result, with what was left out."""

    found: Any
    n_images: int
    metric: str
    n_greedy: int = 0


def images_for(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """Of how many pictures the curves and the synergy are: fewer for larger checkpoints."""
    share = min(1.0, _DEMO / _work(checkpoint))
    return min(pictures.n, max(LEAST_IMAGES, round(IMAGES * share)))


def is_quick(checkpoint: "Checkpoint") -> bool:
    """Whether curves and synergy take seconds rather than minutes."""
    return _work(checkpoint) <= 4 * _DEMO


def _work(checkpoint: "Checkpoint") -> int:
    return sum(layer.queries * layer.channels**2 for layer in checkpoint.report.layers)


def removal_curves(job: "Job[Measured]", checkpoint: "Checkpoint", asked: Together) -> Measured:
    """The curves of an order, its reverse, random orders and greedy, as far as the caps let."""
    from ..analysis.importance import curves

    removal, scores, metric = _removal(job, checkpoint, asked)
    n_heads = len(removal.heads)
    steps = np.unique(np.linspace(0, n_heads, min(STEPS, n_heads) + 1).round().astype(int))
    n_greedy = max(2, min(n_heads, GREEDY // n_heads))
    found: RemovalCurves = curves.removal_curves(
        removal,
        scores,
        metric="importance",
        n_random=ORDERS,
        quantiles=(0.0, 1.0),
        steps=steps.tolist(),
        greedy=("least",),
        n_greedy=n_greedy,
        progress=lambda done, total: job.report(done / total, f"order {done} of {total}"),
    )
    return Measured(found, removal.n_images, metric, n_greedy)


def synergy(job: "Job[Measured]", checkpoint: "Checkpoint", asked: Together) -> Measured:
    """The synergy of every pair of the top heads."""
    from ..analysis.importance.headset import top_heads
    from ..analysis.importance.synergy import pairwise_synergy

    removal, scores, metric = _removal(job, checkpoint, asked)
    heads: Sequence[Head] = sorted(top_heads(scores, HEADS))
    found: Synergy = pairwise_synergy(
        removal,
        heads,
        progress=lambda done, total: job.report(done / total, f"{done} of {total} pairs"),
    )
    return Measured(found, removal.n_images, metric)


def _removal(job: "Job[Measured]", checkpoint: "Checkpoint", asked: Together) -> Any:
    """What is measured, the scores that order the heads, and their name."""
    from ..analysis.importance.removal import Removal
    from ..analysis.importance.scorer import first_metric, head_scores, heads_there

    job.report(0, "Reading the images")
    places = asked.pictures.spread(images_for(checkpoint, asked.pictures))
    batch = checkpoint.prepare(asked.pictures.crops(checkpoint, places))
    removal = Removal(checkpoint, batch, value=asked.value, target=asked.target)
    if asked.scores is not None:
        return removal, asked.scores, asked.metric
    metric, there, parts = first_metric(checkpoint), heads_there(checkpoint), []
    for part in batch.split(LEAST_IMAGES):
        job.report(0, "Measuring every head on its own")
        parts.append(head_scores(checkpoint, part, there, metric))
    return removal, np.concatenate(parts), metric.long_name
