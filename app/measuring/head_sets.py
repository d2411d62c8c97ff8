"""A head set switched off as one, beside the sum of what its heads do one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jobs import Job
from . import pictures as sizes
from .pictures import Pictures
from .what_if import Change

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from jaxtyping import Float

    from ... import Checkpoint, HeadStatistics
    from ...analysis.importance.intervals import Interval
    from ...analysis.importance.values import Value

PASSES = 4000
"""Passes of a demo checkpoint that one look may take."""
SETS = 8
"""Head sets between two looks at whether anybody still waits."""
LEAST = 4
"""Images, however large the checkpoint is."""


@dataclass(frozen=True, eq=False)
class Effect:
    """What a head set does, image by image: v with all heads − v without."""

    value: "Value"
    joint: "Float[np.ndarray, ' image']"
    """Of the set as one."""
    singles: "Float[np.ndarray, 'head image']"
    """Of each of its heads alone."""

    @property
    def n_images(self) -> int:
        return len(self.joint)

    @property
    def intervals(self) -> "dict[str, Interval]":
        """95 %, over images: the set as one, the sum of its heads alone, and what is left over."""
        from ...analysis.importance.intervals import t_interval

        total = self.singles.sum(0)
        both = {"joint": self.joint, "sum": total, "beyond": self.joint - total}
        return {name: t_interval(values[:, None]) for name, values in both.items()}


def images_for(checkpoint: "Checkpoint", pictures: Pictures, n_heads: int) -> int:
    """On how many pictures: fewer for larger checkpoints and sets."""
    most = PASSES / sizes.passes(checkpoint) / (n_heads + 2)
    return min(pictures.n, max(LEAST, int(most)))


def effect(
    job: Job[Effect],
    checkpoint: "Checkpoint",
    pictures: Pictures,
    change: Change,
    *,
    statistics: "HeadStatistics | None",
    target: Sequence[int] | int | None,
) -> Effect:
    """The set and each of its heads, removed from the same images.

    `target` is of each image of `pictures`, or one for all.
    """
    from ...analysis.importance.removal import Removal

    job.report(0, "Reading the images")
    places = pictures.spread(images_for(checkpoint, pictures, len(change.heads)))
    batch = checkpoint.prepare(pictures.crops(checkpoint, places))
    aim: Any = target
    if target is not None and not isinstance(target, int):
        aim = [target[place] for place in places]
    removal = Removal(
        checkpoint,
        batch,
        value="probability" if checkpoint.has_classes else "feature_similarity",
        target=aim,
        **change.in_place(statistics),
    )
    sets = [change.heads, *([head] for head in change.heads)]
    found = []
    for start in range(0, len(sets), SETS):
        job.report(start / len(sets), f"{start} of {len(sets)} removals")
        found.append(removal.clean - removal(sets[start : start + SETS]))
    effects = np.concatenate(found)
    return Effect(removal.value, effects[0], effects[1:])
