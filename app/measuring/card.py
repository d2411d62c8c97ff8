"""What the head card says beside its numbers: intervals, similar heads, sinks, patterns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures.board import card
from ..jobs import Job

if TYPE_CHECKING:  # it reads Zarr; the page shows its frame first
    from ... import Study


def gathered(job: Job[dict[str, Any]], study: "Study", among: Sequence[int]) -> dict[str, Any]:
    """All of it for all heads of a study; what is there already is told as it comes.

    Args:
        job: that does it.
        study: with its numbers in memory.
        among: the images that means are over; none: all.
    """
    found: dict[str, Any] = {"nearest": [], "sinks": None, "intervals": {}, "patterns": None}

    def tell(share: float) -> None:
        job.report(share, so_far={**found, "intervals": dict(found["intervals"])})

    tell(0)
    found["nearest"] = _nearest(study)
    tell(0.05)
    found["sinks"] = _sinks(study)
    tell(0.1)
    images = np.flatnonzero(study.data["done"].values)
    if among:
        images = np.intersect1d(images, among)
    found["n_images"] = len(images)
    variables = card.keyed(study.head_metrics())
    for done, (key, variable) in enumerate(variables.items()):
        if "image" in variable.dims and len(images) > 1:
            found["intervals"][key] = _interval(variable, images)
        tell(0.1 + 0.6 * done / len(variables))
    found["patterns"] = _patterns(study)
    return found


def _nearest(study: "Study") -> list[dict[str, Any]]:
    from ...analysis.nearest import PAIRS, nearest_heads

    similarities = [each for each in study.data.values() if set(each.dims) == set(PAIRS)]
    return [
        card.nearest(nearest_heads(each.transpose(*PAIRS).values), each)
        for each in sorted(similarities, key=lambda each: str(each.name))
    ]


def _sinks(study: "Study") -> dict[str, Any] | None:
    from ...analysis.sinks.label import sink_labels

    labels = sink_labels(study)
    keys = [layer.keys for layer in study.layer_layouts]
    return None if labels is None else card.sinks(labels, keys)


def _interval(variable: Any, images: np.ndarray) -> dict[str, Any]:
    """Importance is skewed: the bootstrap, as in the ranking; Student's t for the rest is quick."""
    from ...analysis.importance.intervals import bootstrap_interval, t_interval

    scores = variable.transpose("image", "layer", "head").values[images].astype(float)
    scores[~np.isfinite(scores)] = np.nan
    how = bootstrap_interval if "ablation" in variable.coords else t_interval
    return card.interval(how(scores))


def _patterns(study: "Study") -> dict[str, Any] | None:
    from ... import HeadscopeError
    from ...analysis.patterns.storage import has_patterns, open_patterns

    try:
        if not has_patterns(study):
            return None
        found = open_patterns(study)
    except (OSError, HeadscopeError):  # the part "Patterns" says what is wrong with them
        return None
    origins = [
        index
        for index, origin in enumerate(found.maps.origins)
        if origin.digest == study.model_digest
    ]
    shape = study.data.sizes["layer"], study.data.sizes["head"]
    return card.patterns(found.heads, found.names, origins, shape)
