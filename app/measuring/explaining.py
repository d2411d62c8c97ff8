"""Maps over one picture by any method, and the same map without some heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from ..jobs import Job

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from torch import Tensor

    from ... import Checkpoint
    from ...analysis.explain import Explanation, Target
    from ...analysis.explain.heads import WithoutHeads
    from ...analysis.redundancy import Redundancy

Options = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Decision:
    """What is to be explained: the score of a class in one picture."""

    crop: UInt8[np.ndarray, "row column 3"]
    """As the model sees it."""
    target: int | None
    """Index of a class; None: the predicted one, or the features of a model without classes."""
    against: int | str | None
    """A class to tell it from."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Of all that it is."""
        return sha256(self.crop.tobytes()).hexdigest(), self.target, self.against

    def ask(self, checkpoint: "Checkpoint") -> "tuple[Tensor, Target]":
        """The batch of one, and the target."""
        from ...analysis.explain import target_of

        batch = checkpoint.prepare(self.crop[None])
        output = checkpoint.run(batch)
        return batch, target_of(checkpoint, output, self.target, against=self.against)


def explanation(
    job: "Job[Explanation]",
    checkpoint: "Checkpoint",
    decision: Decision,
    method: str,
    options: Options,
) -> "Explanation":
    """The map of one method."""
    from ...analysis.explain import explain

    job.report(0)
    return explain(
        checkpoint,
        checkpoint.prepare(decision.crop[None]),
        method,
        target=decision.target,
        against=decision.against,
        progress=job.report,
        **options,
    )


def without(
    job: "Job[WithoutHeads]",
    checkpoint: "Checkpoint",
    decision: Decision,
    heads: Sequence[tuple[int, int]],
    method: str,
    options: Options,
) -> "WithoutHeads":
    """The map of one method with and without some heads, which are set to zero."""
    from ...analysis.explain.heads import without_heads

    ended = 0

    def tell(share: float) -> None:
        """Of the first map, then of the second."""
        nonlocal ended
        job.report((ended + share) / 2, "With all heads" if not ended else "Without these heads")
        ended += share == 1

    tell(0)
    return without_heads(
        checkpoint,
        checkpoint.prepare(decision.crop[None]),
        heads,
        method,
        target=decision.target,
        against=decision.against,
        progress=tell,
        **options,
    )


def fewer_patches(
    job: "Job[Redundancy]",
    checkpoint: "Checkpoint",
    decision: Decision,
    found: "Explanation",
    *,
    repeats: int,
) -> "Redundancy":
    """What becomes of the decision as patches are dropped in the order of a map."""
    from ...analysis.redundancy import redundancy

    job.report(0)
    return redundancy(
        checkpoint,
        checkpoint.prepare(decision.crop[None]),
        found,
        target=decision.target,
        against=decision.against,
        repeats=repeats,
        progress=job.report,
    )
