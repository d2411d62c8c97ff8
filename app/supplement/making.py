"""From a study to the file: what is in it, and in which order."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...models.errors import HeadscopeError
from ..figures import encode, predictions
from ..views import heads
from . import document
from .blocks import SAME, difference, packed_json
from .board import parts
from .facts import commands, facts, made_by
from .feeds import Told, feeds, name

if TYPE_CHECKING:
    from ...analysis.study import Study
    from ...models.checkpoint import Checkpoint

MAPS_MB = 40.0
"""Megabytes of attention maps in the file, unless something else is asked for."""
WITHOUT = (
    "This file was made without the checkpoint, so it has no attention maps; its numbers are those "
    "of the study."
)
_MAPS, _NUMBERS = 0.7, 0.15
"""Shares of the time; the rest goes into the panels of the board."""


def supplement(
    study: "Study",
    checkpoint: "Checkpoint | None" = None,
    *,
    maps_mb: float = MAPS_MB,
    images: int | None = None,
    title: str | None = None,
    without: str = WITHOUT,
    progress: Callable[[float, str], None] | None = None,
) -> bytes:
    """The study as one HTML file that works offline, from any place.

    Numbers, profiles, predictions and pixels of all images are in it; attention maps of as many as
    fit, spread evenly over the study. The same study gives the same bytes.

    Args:
        study: from `analyze` or `open_study`.
        checkpoint: that of the study, for the maps; None: no maps.
        maps_mb: megabytes of the file that maps may take.
        images: of at most so many images are there maps; None: of as many as fit.
        title: heading of the page; None: the checkpoint's name.
        without: why there is no checkpoint, in a sentence for the reader.
        progress: told of the share that is done (0…1) and what is under way; what it raises ends
            the work.

    Raises:
        HeadscopeError: the checkpoint is not the study's, or a bound makes no sense.
    """
    from ...analysis.reloading import checkpoint_of

    if not maps_mb >= 0:
        raise HeadscopeError(f"{maps_mb} MB of maps make no sense: give 0 or more.")
    if images is not None and images < 0:
        raise HeadscopeError(f"Maps of {images} images make no sense: give 0 or more.")
    if checkpoint is not None:
        checkpoint_of(study, checkpoint)
    study = study.load()

    def told(share: float, text: str) -> None:
        if progress is not None:
            progress(share, text)

    def mapping(share: float, text: str) -> None:
        told(_MAPS * share, text)

    drawn = feeds(
        study,
        checkpoint,
        most_bytes=maps_mb * 1e6,
        most_images=images,
        without=without,
        told=mapping,
    )

    def numbering(share: float, text: str) -> None:
        told(_MAPS + _NUMBERS * share, text)

    def paneling(share: float, text: str) -> None:
        told(_MAPS + _NUMBERS + (1 - _MAPS - _NUMBERS) * share, text)

    base, scenes = _scenes(study, numbering)
    page = {
        "title": study.model if title is None else title,
        "base": base,
        "images": _images(study, drawn.with_maps),
        "missing": drawn.missing,
        "facts": facts(study),
        "commands": commands(study),
        "made_by": made_by(),
        "labels": list(study.labels),
    }
    blocks = {"study": packed_json(page)}
    blocks |= parts(study, paneling)
    for image, (scene, feed) in enumerate(zip(scenes, drawn.blocks, strict=True)):
        blocks |= {f"scene-{image}": scene, f"feed-{image}": feed}
    return document.html(page["title"], blocks)


def _scenes(study: "Study", told: Told) -> tuple[dict[str, Any], list[str]]:
    """What is drawn of the first image, and for each what is different in it."""
    base: dict[str, Any] = {}
    packed: list[str] = []
    numbers = heads.numbers_of(study)
    for image in range(study.n_images):
        told(image / study.n_images, f"numbers, image {image + 1} of {study.n_images}")
        scene = {
            **heads.drawn(heads.of_study(study, image, numbers=numbers)),
            "feed": name(image),
            "predictions": _predictions(study, image),
        }
        base = base or scene
        changed = difference(base, scene)
        packed.append(packed_json(None if changed is SAME else changed))
    return base, packed


def _predictions(study: "Study", image: int) -> dict[str, Any] | None:
    """The most probable classes; None for checkpoints without classes."""
    data = study.data
    if "top_class" not in data:
        return None
    return predictions.payload(
        data["top_class"].values[image].tolist(),
        data["top_probability"].values[image].tolist(),
        study.labels,
        target=int(data["target"].values[image]),
    )


def _images(study: "Study", with_maps: frozenset[int]) -> list[dict[str, Any]]:
    data = study.data
    labels = data["label"].values if "label" in data else None
    return [
        {
            "name": str(data["image"].values[image]),
            "thumbnail": encode.thumbnail(data["pixels"][image].values),
            "maps": image in with_maps,
            "label": None if labels is None or labels[image] < 0 else int(labels[image]),
            "done": bool(data["done"].values[image]),
        }
        for image in range(study.n_images)
    ]
