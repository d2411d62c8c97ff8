"""Heads switched off: one picture and many with and without them, and what takes their place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from ..jobs import Job
from . import pictures as sizes
from .explaining import Decision
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint, HeadStatistics
    from ...analysis.explain.heads import WithoutHeads
    from ...analysis.what_if import Output, WhatIf

Heads = tuple[tuple[int, int], ...]

REFERENCE = 32
"""Most images whose heads give what `mean`, `resample` and `noise` put in a head's place."""
BATCH = 4
"""Images between two looks at whether anybody still waits."""


@dataclass(frozen=True)
class Change:
    """What is changed: these heads, in this way."""

    heads: Heads
    how: str

    def in_place(self, statistics: "HeadStatistics | None") -> dict[str, Any]:
        """As `ablate` takes it."""
        return {"mode": self.how, "reference": statistics}


def needs_reference(how: str) -> bool:
    """Whether an ablation puts in a head's place what it gives for other images.

    Raises:
        HeadscopeError: there is no such ablation.
    """
    from ...models.ablations import ablation

    return bool(ablation(how).needs)


def reference_images(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """Over how many pictures heads are looked at: fewer for larger checkpoints."""
    share = min(1.0, 4 / sizes.passes(checkpoint))
    return min(pictures.n, max(sizes.LEAST_IMAGES, round(REFERENCE * share)))


def reference(
    job: "Job[HeadStatistics]", checkpoint: "Checkpoint", pictures: Pictures
) -> "HeadStatistics":
    """What every head gives over some images."""
    from ...models.ablations import HeadStatistics

    job.report(0, "Reading the images")
    n = reference_images(checkpoint, pictures)
    batch = checkpoint.prepare(pictures.crops(checkpoint, pictures.spread(n)))
    return HeadStatistics.over(
        checkpoint,
        n,
        lambda places: batch[list(places)],
        batch_size=BATCH,
        on_batch=lambda done: job.report(done / n, f"{done} of {n} images"),
    )


def here(
    job: "Job[WhatIf]",
    checkpoint: "Checkpoint",
    crop: UInt8[np.ndarray, "row column 3"],
    change: Change,
    *,
    statistics: "HeadStatistics | None",
    target: int | None,
    queries: Sequence[int | None],
) -> "WhatIf":
    """One picture with and without heads.

    Whoever waited for the checkpoint and is not wanted any more computes nothing.
    """
    from ...analysis.what_if import what_if

    return what_if(
        checkpoint,
        checkpoint.prepare(crop[None]),
        change.heads,
        target=target,
        queries=queries,
        begin=lambda: job.report(0),
        **change.in_place(statistics),
    )


def explanation(
    job: "Job[WithoutHeads]",
    checkpoint: "Checkpoint",
    decision: Decision,
    change: Change,
    method: str,
    *,
    statistics: "HeadStatistics | None",
) -> "WithoutHeads":
    """The map of one method with and without heads.

    Whoever waited for the checkpoint and is not wanted any more computes nothing.
    """
    from ...analysis.explain.heads import without_heads

    with checkpoint.lock:
        job.report(0)
    return without_heads(
        checkpoint,
        checkpoint.prepare(decision.crop[None]),
        change.heads,
        method,
        target=decision.target,
        against=decision.against,
        progress=lambda _: job.report(0.5),
        **change.in_place(statistics),
    )


def over_images(
    job: "Job[Output]",
    checkpoint: "Checkpoint",
    pictures: Pictures,
    change: Change,
    *,
    statistics: "HeadStatistics | None",
    target: int | Sequence[int] | None,
) -> "Output":
    """Many pictures with and without heads."""
    from ...analysis.what_if import what_if_over

    job.report(0, "Reading the images")
    n = pictures.n
    batch = checkpoint.prepare(pictures.crops(checkpoint, range(n)))
    return what_if_over(
        checkpoint,
        batch,
        change.heads,
        target=target,
        batch_size=BATCH,
        progress=lambda done: job.report(done / n, f"{done} of {n} images"),
        **change.in_place(statistics),
    )
