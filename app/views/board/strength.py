"""Strength: hop profiles of all heads, where each looks from a patch, numbers over layers."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ... import services
from ...figures.atlas import GROUPS, HeadMetric, head_metrics
from ...figures.board import strength as figures
from ...figures.strength import has_profiles
from ...jobs import Job
from ..depth.pattern_scene import image_of
from ..depth.subject import Subject, key_of

if TYPE_CHECKING:
    from .... import Study

BRIEF = 0.1
"""Seconds that the page waits for the numbers: what is quick comes with the first drawing."""


def part(subject: Subject) -> dict[str, Any]:
    """Maps of offsets and trends; hop profiles and numbers of heads come with the atlas."""
    study = _study(subject)
    if study is None or study.n_done == 0:
        return {"waiting": "The heads are still being measured."}
    metrics = head_metrics(study.head_metrics(), study.data.get("share"))
    strengths = [
        metric
        for metric in metrics
        if metric.group == GROUPS[-1] and np.isfinite(metric.mean).any()
    ]
    offsets = "offset_map" in study.data
    if not (strengths or offsets or has_profiles(study.data)):
        return {
            "waiting": "This study was made without attention metrics; analyse the images again, "
            "without --metrics, to have them."
        }
    key = key_of(study)
    job = services.for_board(
        "strength", key, "Numbers over layers", lambda job: _means(job, study, strengths)
    )
    if not job.wait(BRIEF) or job.result is None:  # or given up by another page of this session
        return {"waiting": "The numbers over layers are being computed…", "running": True}
    means = job.result
    here = None
    if offsets and study.n_images > 1:
        names = [str(name) for name in study.data["image"].values]
        image = 0 if subject.photograph is not None else names.index(image_of(subject))
        here = figures.offset_maps_of_image(
            study.data["offset_map"], _n_heads(study), _patches(study), image
        )
    return {**means, "of_image": here, "n_images": study.n_done}


def _study(subject: Subject) -> "Study | None":
    """The study; while that of a picture is measured, what is known without ablating heads."""
    if subject.study is not None or subject.checkpoint is None or subject.photograph is None:
        return subject.study
    job = services.attention_study(subject.checkpoint, subject.photograph)
    there = job.wait(0) and not job.stopped and job.future.exception() is None
    return job.result if there else None


def _means(job: Job[Any], study: "Study", strengths: list[HeadMetric]) -> dict[str, Any]:
    """What is the same whatever image is shown."""
    from .... import HeadscopeError
    from ....analysis.trends import trend

    def over_layers(key: str) -> Any:
        try:
            return trend(study, key)
        except HeadscopeError as error:
            return str(error)

    offsets = None
    if "offset_map" in study.data:
        offsets = figures.offset_maps(study.data["offset_map"], _n_heads(study), _patches(study))
    trends = figures.trends(strengths, over_layers, job.report)
    return {"offsets": offsets, "trends": trends}


def _n_heads(study: "Study") -> list[int]:
    return [int(count) for count in study.data["n_heads"].values]


def _patches(study: "Study") -> list[figures.Patch]:
    """The patch of each layer that offsets are counted in: the larger of both sides."""
    return [
        tuple(  # pyright: ignore[reportReturnType]
            max(sides) for sides in zip(layer.queries.patch_px, layer.keys.patch_px, strict=True)
        )
        for layer in study.layer_layouts
    ]


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server, whatever image is shown."""
    metrics = head_metrics(study.head_metrics(), study.data.get("share"))
    strengths = [
        metric
        for metric in metrics
        if metric.group == GROUPS[-1] and np.isfinite(metric.mean).any()
    ]
    return {**_means(Job("", ""), study, strengths), "of_image": None, "n_images": study.n_done}


def of_image(study: "Study", image: int) -> dict[str, Any]:
    """What of it is an image's."""
    if "offset_map" not in study.data or study.n_images == 1:
        return {}
    maps = study.data["offset_map"]
    return {"of_image": figures.offset_maps_of_image(maps, _n_heads(study), _patches(study), image)}
