"""Small multiples: the chosen head's map over images of the study, one for each decile."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ... import selection, services
from ...figures.board import multiples as figures
from ...figures.board.card import keyed
from ...measuring import multiples as measuring
from ..depth import subject as shared
from ..depth.subject import Subject, key_of
from . import asked

if TYPE_CHECKING:
    from .... import Study
    from ....analysis.multiples import Place

FOLLOWS = True
BRIEF = 0.3
"""Seconds that a click waits here; the browser asks again for what takes longer."""
FIRST = ("distance", "entropy")
"""What images are ordered by where the atlas' number is none of single images."""


def part(subject: Subject) -> dict[str, Any]:
    """The head's maps for the images that stand for the deciles of a number."""
    waiting = _lacking(subject)
    if waiting:
        return {"waiting": waiting}
    study, checkpoint = subject.study, subject.checkpoint
    assert study is not None
    assert checkpoint is not None
    variables = {key: each for key, each in keyed(study.head_metrics()).items() if _varies(each)}
    if not variables:
        return {"waiting": "The study has no number of single images, so they have no order."}
    wants = asked("multiples")
    layer, head = _head(study, wants)
    by, stands_in = _by(list(variables), wants)
    places = _places(study, variables[by], layer, head)
    told = {
        "of": str(study.path),
        "layer": layer,
        "head": head,
        "by": by,
        "stands_in": stands_in,
        "choices": list(variables),
    }
    if not places:
        sentence = "No image of the study has a value of it for this head; order by another number."
        return {**told, "unordered": sentence}
    job = services.claimed(
        services.jobs_of_multiples(),
        "multiples",
        (*key_of(study), checkpoint.identity, layer, head, tuple(each.image for each in places)),
        "Small multiples",
        lambda job: measuring.maps(job, checkpoint, _crops(study, places), layer, head),
    )
    if not job.wait(BRIEF):
        return {**told, "running": True}
    if job.stopped:
        services.jobs_of_multiples().forget(job.key)
        return {**told, "running": True}
    names = [str(study.data["image"].values[each.image]) for each in places]
    token = wants.get("token")
    return {
        **told,
        **figures.payload(
            places,
            names,
            [_picture(study, each.image) for each in places],
            job.result or (),
            token if isinstance(token, int) and token >= 0 else None,
        ),
    }


def _lacking(subject: Subject) -> str:
    """What there has to be first, in a sentence; empty where nothing lacks."""
    if subject.photograph is not None or subject.study is None:
        return (
            "One picture has no deciles. Measure several images and open their study: "
            "headscope analyze IMAGES --out study.zarr, then headscope --study study.zarr."
        )
    if subject.study.n_done < 2:
        return (
            "The study has fewer than two images that are done; run headscope analyze again "
            "to go on with it."
        )
    if subject.checkpoint is None:
        return (
            "The checkpoint of this study is not there (yet), and the maps come from it; the "
            "sidebar says which it is."
        )
    return ""


def _varies(variable: Any) -> bool:
    return "image" in variable.dims


def _head(study: "Study", wants: dict[str, Any]) -> tuple[int, int]:
    """The chosen head; before anyone chose, the one that the browser shows."""
    n_heads = study.data["n_heads"].values
    match wants.get("head"):
        case [int(layer), int(head)] if (
            selection.current().layer is None
            and 0 <= layer < len(n_heads)
            and 0 <= head < n_heads[layer]
        ):
            return layer, head
    return shared.chosen_head(study)


def _by(keys: list[str], wants: dict[str, Any]) -> tuple[str, bool]:
    """What images are ordered by, and whether it stands in for the atlas' number."""
    if wants.get("by") in keys:
        return wants["by"], False
    of_atlas = selection.current().metric
    if of_atlas is None or of_atlas in keys:
        return of_atlas or keys[0], False
    return next((key for key in FIRST if key in keys), keys[0]), True


def _places(study: "Study", variable: Any, layer: int, head: int) -> "tuple[Place, ...]":
    from ....analysis.multiples import by_decile

    values = variable.sel(layer=layer, head=head).transpose("image").values.astype(float)
    counted = study.data["done"].values.copy()
    chosen = [i for i in selection.current().chosen_images if i < len(counted)]
    if len(chosen) > 1:
        counted &= np.isin(np.arange(len(counted)), chosen)
    return by_decile(np.where(counted, values, np.nan))


def _crops(study: "Study", places: "tuple[Place, ...]") -> np.ndarray:
    return np.stack([study.data["pixels"][each.image].values for each in places])


def _picture(study: "Study", image: int) -> str:
    digest = study.data["image_digest"].values[image]
    return services.thumbnail(
        f"multiple {study.model_digest} {digest}",
        lambda: study.data["pixels"][image].values,
        figures.picture,
    )
