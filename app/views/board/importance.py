"""Importance: heads by any two numbers, the ranking with intervals, what parts of heads cost."""

from typing import TYPE_CHECKING, Any

from ... import selection, services
from ...figures.atlas import HeadMetric, head_metrics
from ...figures.board import importance as figures
from ...jobs import Job
from ..depth.subject import Subject, key_of

if TYPE_CHECKING:
    from .... import Study

BRIEF = 0.2
"""Seconds that the page waits for intervals."""


def part(subject: Subject) -> dict[str, Any]:
    """Intervals of every number over the images, and the ablations of the study in words.

    The numbers themselves come with the atlas.
    """
    study = subject.study
    if study is None or study.n_done == 0:
        return {"waiting": "The heads are still being measured."}
    metrics = head_metrics(study.head_metrics())
    found = {**_words(study, metrics), "command": _command(subject, study)}
    chosen = () if subject.photograph is not None else selection.current().chosen_images
    among = tuple(index for index in chosen if index < study.n_images)
    key = (*key_of(study), among)
    job = services.for_board(
        "importance", key, "Intervals of heads", lambda job: _intervals(job, study, metrics, among)
    )
    if not job.wait(BRIEF) or job.stopped:
        busy = "The intervals are being computed…"
        return {**found, "intervals": {}, "busy": busy, "running": True}
    return {**found, "intervals": job.result, "busy": ""}


def _intervals(
    job: Job[Any], study: "Study", metrics: tuple[HeadMetric, ...], among: tuple[int, ...]
) -> dict[str, Any]:
    """Student's t over images, for every number that images have."""
    from ....analysis.importance.intervals import t_interval

    n_heads = [int(n) for n in study.data["n_heads"].values]
    found: dict[str, Any] = {}
    for place, metric in enumerate(metrics):
        job.report(place / len(metrics))
        if len(metric.values) != study.n_images:  # a number of all images together
            continue
        interval = t_interval(metric.values[list(among)] if among else metric.values)
        found[metric.key] = figures.whisker(interval.low, interval.high, interval.n_images, n_heads)
    return found


def _command(subject: Subject, study: "Study") -> str:
    """What measures parts of heads as well."""
    images = "IMAGES" if subject.photograph is None else "PICTURE.png"
    return (
        f"headscope analyze {images} --model {study.model} "
        '--ablations zero,class-to-patch,"hops<=1" --out parts.zarr'
    )


def _words(study: "Study", metrics: tuple[HeadMetric, ...]) -> dict[str, Any]:
    """The study's ablations, in words."""
    from ....analysis.importance.parts import parts_of

    modes = study.data["ablation"].values.tolist() if "ablation" in study.data else []
    parts = [
        {
            "name": each.name,
            "words": each.description,
            "is_part": each.is_part,
            "is_converse": each.is_converse,
        }
        for each in parts_of(str(mode) for mode in modes)
    ]
    families = figures.families(metrics, parts)
    return {"parts": parts, "families": families, "confidence": 0.95}


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server, over all images."""
    metrics = head_metrics(study.head_metrics())
    intervals = _intervals(Job("", ""), study, metrics, ())
    command = _command(Subject(None, study), study)
    return {**_words(study, metrics), "command": command, "intervals": intervals, "busy": ""}
