"""Maps over one picture by any method."""

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from ..jobs import Job

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint
    from ...analysis.explain import Explanation


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


def explanation(
    job: "Job[Explanation]", checkpoint: "Checkpoint", decision: Decision, method: str
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
    )
