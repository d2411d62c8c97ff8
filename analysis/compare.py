"""Two checkpoints on the same images: what differs, and how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..models.errors import HeadscopeError
from .importance.intervals import Interval
from .matching.sides import shared_images
from .study import ACROSS, Study
from .trends import Method, check_ablations, head_scores, interval_of, mean_of


@dataclass(frozen=True, eq=False)
class Difference:
    """A number of a second study minus that of a first one, paired over images."""

    metric: str
    long_name: str
    units: str
    first: str
    second: str
    """Names of the checkpoints."""
    n_images: int
    """Images that are done in both."""
    layers: Interval | None
    """Mean over the heads of a layer, second minus first, by `layer`; None where the checkpoints
    differ in the number of layers."""
    whole: Interval
    """Mean over all heads, second minus first; of shape (1,)."""
    means: Float[np.ndarray, " side"]
    """Mean over all heads and images, of the first and of the second."""


def compare(
    study_a: Study,
    study_b: Study,
    metric: str,
    *,
    at: Mapping[str, Any] | None = None,
    ablation: str | None = None,
    confidence: float = 0.95,
    method: Method = "bca",
    shared_only: bool = False,
) -> Difference:
    """A number of study B minus that of study A, image by image, for each layer and the whole.

    Images are paired by their digest, whatever their order and names; what all images have in
    common cancels, so the interval is that of the difference. Heads of two checkpoints are not
    paired: they have no common order.

    Args:
        study_a: the first.
        study_b: the second, of the same images.
        metric: name of a variable of both, per head or per layer.
        at: where the metric has further dimensions, the coordinate of each.
        ablation: of a metric of importance; may be left out where the studies have one only.
        confidence: of the intervals.
        method: of the intervals.
        shared_only: compare on the images that both have, where some are in one study only.

    Raises:
        HeadscopeError: the studies are of different images, lack the number, or have it by
            different ablations.
    """
    pairs = shared_images((study_a, study_b)) if shared_only else _pairs(study_a, study_b)
    variables = [
        head_scores(study, metric, at=at, ablation=ablation) for study in (study_a, study_b)
    ]
    check_ablations(metric, variables)
    if any(variable.attrs.get(ACROSS) for variable in variables):
        raise HeadscopeError(
            f"The metric {metric!r} is of all images together: there are no images to pair. "
            "Compare its values as they are."
        )
    sides = [
        variable.isel(image=images).values.astype(float)
        for variable, images in zip(variables, pairs, strict=True)
    ]
    by_layer = [mean_of(side, (2,)) for side in sides]
    by_image = [mean_of(side, (1, 2))[:, None] for side in sides]
    same_depth = by_layer[0].shape == by_layer[1].shape
    both = np.isfinite(by_image[0]) & np.isfinite(by_image[1])
    # Where both are infinite there is no difference to tell: such images do not count.
    with np.errstate(invalid="ignore"):
        of_layers = by_layer[1] - by_layer[0] if same_depth else None
        of_images = by_image[1] - by_image[0]
    first = variables[0]
    return Difference(
        metric,
        str(first.attrs.get("long_name", metric)),
        str(first.attrs.get("units", "")),
        study_a.model,
        study_b.model,
        len(pairs[0]),
        None if of_layers is None else interval_of(of_layers, confidence, method),
        interval_of(of_images, confidence, method),
        np.array([mean_of(np.where(both, side, np.nan), (0, 1)) for side in by_image]),
    )


def _pairs(
    study_a: Study, study_b: Study
) -> tuple[Int[np.ndarray, " image"], Int[np.ndarray, " image"]]:
    """Where each image that is done in both stands in the two studies."""
    digests = [study.data["image_digest"].values.tolist() for study in (study_a, study_b)]
    lacking = [
        [
            str(name)
            for name, digest in zip(study.data["image"].values, own, strict=True)
            if digest not in set(other)
        ]
        for study, own, other in (
            (study_a, digests[0], digests[1]),
            (study_b, digests[1], digests[0]),
        )
    ]
    if any(lacking):
        only = " and ".join(
            f"{len(names)} image(s) such as {names[0]!r} are in the {which} only"
            for names, which in zip(lacking, ("first", "second"), strict=True)
            if names
        )
        raise HeadscopeError(
            f"The studies are of different images: {only}. Analyse the same files with both "
            "checkpoints."
        )
    places = [{digest: i for i, digest in reversed(list(enumerate(own)))} for own in digests]
    done = [study.data["done"].values for study in (study_a, study_b)]
    shared = [d for d in places[0] if done[0][places[0][d]] and done[1][places[1][d]]]
    if not shared:
        raise HeadscopeError("No image is done in both studies; let them go on.")
    shared.sort(key=lambda digest: places[0][digest])
    first, second = (np.array([own[digest] for digest in shared]) for own in places)
    return first, second
