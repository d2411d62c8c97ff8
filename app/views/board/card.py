"""The head card: what is known of all heads of the study beside their numbers."""

from typing import TYPE_CHECKING, Any

from ... import selection, services
from ...figures.board import card
from ...jobs import Job
from ...measuring import card as measuring
from ...measuring import pictures, sinks
from ..depth.subject import Subject, key_of

if TYPE_CHECKING:
    from .... import Study

FOLLOWS = True


def part(subject: Subject) -> dict[str, Any]:
    """Intervals, similar heads, sinks and patterns; empty while there is no study."""
    study = subject.study
    if study is None or study.n_done == 0:
        return {}
    among = selection.current().chosen_images
    job = services.for_board(
        "card",
        (*key_of(study), among, _patterns_written(study)),
        "Head card",
        lambda job: measuring.gathered(job, study, among),
    )
    ended = job.wait(0.1)  # asked once: what ends from here on is brought at the next look
    found = (job.result if ended else job.so_far) or {}
    return {"running": not ended, **found, "measured_sinks": _measured(subject)}


def _patterns_written(study: "Study") -> int:
    """Changes when patterns are learned anew; reading them imports much."""
    try:
        return 0 if study.path is None else (study.path / "patterns/zarr.json").stat().st_mtime_ns
    except OSError:
        return 0


def _measured(subject: Subject) -> dict[str, Any] | None:
    """What the part "Sinks" found on these images, if somebody looked."""
    checkpoint, study = subject.checkpoint, subject.study
    if checkpoint is None or study is None:
        return None
    images = (
        pictures.of_study(study)
        if subject.photograph is None
        else pictures.one_picture(subject.photograph)
    )
    n = sinks.images_for(checkpoint, images)
    job = services.jobs_in_depth().found(("sinks", (checkpoint.identity, images.key, n)))
    if job is None or job.running or job.stopped or job.future.exception() is not None:
        return None
    return card.measured_sinks(job.future.result().report)


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server, over all images."""
    found = measuring.gathered(Job("", ""), study, ())
    return {"running": False, **found, "measured_sinks": None}
