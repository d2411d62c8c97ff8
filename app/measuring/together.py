"""Heads removed together: curves, and the synergy of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jobs import Job
from . import pictures as sizes
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from jaxtyping import Float

    from ... import Checkpoint
    from ...analysis.importance.curves import RemovalCurves
    from ...analysis.importance.joint import Head
    from ...analysis.importance.synergy import Synergy

STEPS = 12
"""Most numbers of removed heads at which a curve is evaluated, beside none."""
ORDERS = 10
"""Random orders."""
GREEDY = 150
"""Head sets that greedy may try, more or less."""
HEADS = 12
"""Heads whose pairs are tried."""


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


def removal_curves(job: "Job[Measured]", checkpoint: "Checkpoint", asked: Together) -> Measured:
    """The curves of an order, its reverse, random orders and greedy, as far as the caps let."""
    from ...analysis.importance import curves

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
    from ...analysis.importance.headset import top_heads
    from ...analysis.importance.synergy import pairwise_synergy

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
    from ...analysis.importance.removal import Removal
    from ...analysis.importance.scorer import first_metric, head_scores, heads_there

    job.report(0, "Reading the images")
    places = asked.pictures.spread(sizes.images_for(checkpoint, asked.pictures))
    batch = checkpoint.prepare(asked.pictures.crops(checkpoint, places))
    removal = Removal(checkpoint, batch, value=asked.value, target=asked.target)
    if asked.scores is not None:
        return removal, asked.scores, asked.metric
    metric, there, parts = first_metric(checkpoint), heads_there(checkpoint), []
    for part in batch.split(sizes.LEAST_IMAGES):
        job.report(0, "Measuring every head on its own")
        parts.append(head_scores(checkpoint, part, there, metric))
    return removal, np.concatenate(parts), metric.long_name
