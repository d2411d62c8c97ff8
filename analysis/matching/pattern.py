"""Heads whose maps look alike, image by image, in a space that the maps of both are put into."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ...models.errors import HeadscopeError
from ..patterns.maps import PatternMaps, collect
from ..patterns.result import Patterns
from ..patterns.storage import has_patterns, open_patterns
from .distances import distances, similarity
from .sides import NotThere, Side

Space = Callable[[PatternMaps], Float[np.ndarray, "map entry"]]


def pattern(
    first: Side, second: Side, progress: Callable[[float], None] | None = None
) -> tuple[Float[np.ndarray, "pair_head pair_head"], tuple[str, ...]]:
    """Similarity of all heads of both by their maps, and the spaces that it was told in.

    A study with patterns has a space, the latents of its autoencoder, and the maps of the other
    study are put into it; where both have one, both count. Where none has, maps are compared in the
    common form that patterns are learned from (`"offset"` of `forms.FORMS`, square roots of
    shares), in which grids of all sizes have as many numbers. Maps come from the patterns that a
    study has, or are read anew with its checkpoint.

    Raises:
        NotThere: the maps of a side are not there, or of other images than the other's.
    """
    tell = progress or (lambda _: None)
    learned = [_learned(side) for side in (first, second)]
    there = [each for each in learned if each is not None]
    forms = list(dict.fromkeys(each.maps.form for each in there)) or ["offset"]
    parts: list[Float[np.ndarray, "pair_head pair_head"]] = []
    told: list[str] = []
    reasons: list[str] = []
    for form in forms:
        try:
            maps = [
                _maps(side, own, form, lambda share, place=place: tell((place + share) / 2))
                for place, (side, own) in enumerate(zip((first, second), learned, strict=True))
            ]
        except NotThere as reason:
            reasons.append(str(reason))
            continue
        spaces: dict[str, Space] = {
            f"patterns of the {which} study": _space(each)
            for which, each in zip(("first", "second"), learned, strict=True)
            if each is not None and each.maps.form == form
        } or {f"maps in the {form} form": lambda maps: maps.values.astype(float)}
        for name, space in spaces.items():
            found = distances(
                [
                    _by_image(side, own, space(own))
                    for side, own in zip((first, second), maps, strict=True)
                ]
            )
            if np.isfinite(_across(found, len(first.heads))).any():
                parts.append(found)
                told.append(name)
    if not parts:
        raise NotThere(reasons[0] if reasons else "their maps are of no image in common")
    return similarity(parts), tuple(told)


def _learned(side: Side) -> Patterns | None:
    try:
        return open_patterns(side.study) if has_patterns(side.study) else None
    except (HeadscopeError, OSError):  # moved away, or damaged: its numbers are in memory
        return None


def _space(learned: Patterns) -> Space:
    return lambda maps: learned.autoencoder.latents(maps.values)


def _across(found: np.ndarray, n: int) -> np.ndarray:
    return found[:n, n:]


def _maps(
    side: Side, own: Patterns | None, form: str, tell: Callable[[float], None]
) -> PatternMaps:
    if own is not None and own.maps.form == form:
        return own.maps
    if side.checkpoint is None:
        raise NotThere(
            f"the study of {side.study.model} has no maps in the {form} form, and its checkpoint "
            f"is not there to read them{': ' + side.why_not if side.why_not else ''}"
        )
    pixels = side.study.data["pixels"]
    names = side.study.data["image"].values[side.images]
    checkpoint = side.checkpoint
    return side.once(
        ("maps", form),
        lambda: collect(
            checkpoint,
            lambda places: pixels.isel(image=side.images[list(places)]).values,
            [str(name) for name in names],
            form=form,
            progress=lambda _, share: tell(share),
        ),
    )


def _by_image(
    side: Side, maps: PatternMaps, values: Float[np.ndarray, "map entry"]
) -> Float[np.ndarray, "image head entry"]:
    """Rows of maps by shared image and head; NaN where there is no map."""
    names = side.study.data["image"].values[side.images].tolist()
    image = {str(name): place for place, name in enumerate(names)}
    head = {(int(layer), int(of)): place for place, (layer, of) in enumerate(side.heads)}
    found = np.full((len(names), len(side.heads), values.shape[1]), np.nan)
    for row in range(len(maps)):
        origin = maps.origins[maps.origin[row]]
        at = image.get(origin.images[maps.image[row]])
        of = head.get((int(maps.layer[row]), int(maps.head[row])))
        if origin.digest == side.study.model_digest and at is not None and of is not None:
            found[at, of] = values[row]
    return found
