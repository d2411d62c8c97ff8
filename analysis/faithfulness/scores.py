"""The columns of the table of faithfulness, and how each is had."""

from dataclasses import dataclass
from typing import Literal

from ...models.errors import HeadscopeError

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Score:
    """One number for each image that tells how good a method's maps are."""

    name: str
    long_name: str
    units: str
    better: Better
    kind: Literal["curves", "road", "infidelity", "sensitivity", "weights", "seeds", "place"]
    """What is computed for it."""
    description: str


SCORES: tuple[Score, ...] = (
    Score(
        "difference",
        "Insertion − deletion",
        "area",
        "higher",
        "curves",
        "Area between the curves of both orders; 0 for an order by lot.",
    ),
    Score(
        "deletion",
        "Deletion",
        "area",
        "lower",
        "curves",
        "Area under the score while the most relevant cells are covered first.",
    ),
    Score(
        "insertion",
        "Insertion",
        "area",
        "higher",
        "curves",
        "Area under the score while the most relevant cells come back first.",
    ),
    Score(
        "road",
        "ROAD",
        "difference",
        "higher",
        "road",
        "Score with the least less that with the most relevant cells imputed, mean over shares.",
    ),
    Score(
        "infidelity",
        "Infidelity",
        "share",
        "lower",
        "infidelity",
        "Share of what covering squares does that the map's sums do not tell, at its best scale.",
    ),
    Score(
        "sensitivity",
        "Max-sensitivity",
        "share of the map",
        "lower",
        "sensitivity",
        "How far the map moves when the image does a little; 0 for a map that ignores the image.",
    ),
    Score(
        "randomised",
        "Like with random weights",
        "ρ",
        "lower",
        "weights",
        "Rank correlation with the map of the model with random weights; under 0.3 it depends "
        "on what was learnt.",
    ),
    Score(
        "stability",
        "Stable across seeds",
        "ρ",
        "higher",
        "seeds",
        "Rank correlation of the map under different random numbers; 1 where none are drawn.",
    ),
    Score(
        "pointing",
        "Pointing game",
        "share",
        "higher",
        "place",
        "Whether the largest value lies in the mask.",
    ),
    Score(
        "iou",
        "IoU at the mask's area",
        "share",
        "higher",
        "place",
        "Overlap of the mask with the map's top of the same area.",
    ),
    Score(
        "energy",
        "Energy in the mask",
        "share",
        "higher",
        "place",
        "Share of the positive values that lies in the mask.",
    ),
)
"""In the order of the table."""

COSTLY = ("sensitivity", "weights", "seeds")
"""Kinds that run a method itself again, several times."""


def chosen(names: tuple[str, ...] | None, *, has_masks: bool) -> tuple[Score, ...]:
    """Scores by name; None: all that there is ground for.

    Raises:
        HeadscopeError: no such score, or one that needs masks without any.
    """
    known = {score.name: score for score in SCORES}
    for name in names or ():
        if name not in known:
            raise HeadscopeError(f"There is no score {name!r}; there are: {', '.join(known)}.")
        if known[name].kind == "place" and not has_masks:
            raise HeadscopeError(f"The score {name!r} needs masks; give one for each image.")
    if names is not None:
        return tuple(known[name] for name in dict.fromkeys(names))
    return tuple(score for score in SCORES if has_masks or score.kind != "place")
