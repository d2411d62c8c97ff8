"""Checkpoints beside each other: their studies, and which head of one is which of another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..jobs import Job
from . import pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint, Photograph, Study
    from ...analysis.matching import HeadMatching
    from ...analysis.series import Series

Load = Callable[[], "Checkpoint"]


@dataclass(frozen=True, eq=False)
class Other:
    """What is compared with: a study by name, or why there is none."""

    name: str
    study: "Study | None"
    why_not: str = ""


def opened(
    job: "Job[list[Other]]",
    paths: Sequence[tuple[str, Path]],
    opener: "Callable[[Path], Study]",
) -> list[Other]:
    """Studies from disk; one that cannot be opened leaves the others alone."""
    from ... import HeadscopeError

    found: list[Other] = []
    for place, (name, path) in enumerate(paths):
        job.report(place / len(paths), name)
        try:
            found.append(Other(name, opener(path)))
        except HeadscopeError as error:
            found.append(Other(name, None, str(error)))
    return found


def measured(
    job: "Job[list[Other]]",
    loads: Sequence[tuple[str, Load]],
    photograph: "Photograph",
    target: str | None,
) -> list[Other]:
    """Other checkpoints on the picture of the page; with importance where that takes seconds.

    Importance is of the class of that name, where the checkpoint has it; else of its prediction.
    """
    from ... import HeadscopeError, analyze

    found: list[Other] = []
    for place, (name, load) in enumerate(loads):
        text = f"{name}, {place + 1} of {len(loads)}"
        job.report(place / len(loads), text)
        try:
            checkpoint = load()

            def tell(step: object, place: int = place, text: str = text) -> None:
                share = getattr(step, "done", 0) / max(1, getattr(step, "total", 1))
                job.report((place + share) / len(loads), text)

            study = analyze(
                checkpoint,
                [photograph],
                target=target if target in checkpoint.labels else None,
                importance=pictures.is_quick(checkpoint),
                progress=tell,
            ).load()
            found.append(Other(name, study))
        except HeadscopeError as error:
            found.append(Other(name, None, str(error)))
    return found


def matched(
    job: "Job[HeadMatching]",
    studies: "tuple[Study, Study]",
    loads: tuple[Load, Load],
    by: Sequence[str],
) -> "HeadMatching":
    """Which head of the first is which of the second."""
    from ...analysis.matching import match_heads

    job.report(0, "Loading the checkpoints")
    checkpoints = [_loaded(study, load) for study, load in zip(studies, loads, strict=True)]
    return match_heads(
        *studies,
        by=by,
        checkpoints=(checkpoints[0], checkpoints[1]),
        progress=lambda text, share: job.report(share, text),
    )


def in_a_row(
    job: "Job[Series]",
    studies: "Sequence[Study]",
    names: Sequence[str],
    loads: Sequence[Load],
    by: Sequence[str],
) -> "Series":
    """Each head through all of them."""
    from ...analysis.series import series

    job.report(0, "Loading the checkpoints")
    checkpoints = [_loaded(study, load) for study, load in zip(studies, loads, strict=True)]
    return series(
        studies,
        names=names,
        by=by,
        checkpoints=checkpoints,
        progress=lambda text, share: job.report(share, text),
    )


def _loaded(study: "Study", load: Load) -> "Checkpoint | str":
    """The checkpoint of a study, or why it is not there."""
    from ... import HeadscopeError
    from ...analysis.reloading import checkpoint_of

    try:
        return checkpoint_of(study, load())
    except HeadscopeError as error:
        return str(error).rstrip(".")
