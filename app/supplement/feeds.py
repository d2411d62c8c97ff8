"""Attention maps and pixels of the images, as many maps as fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..figures import maps as figure_maps
from .blocks import packed

if TYPE_CHECKING:
    from ...analysis.study import Study
    from ...models.checkpoint import Checkpoint

Told = Callable[[float, str], None]
"""Takes the share that is done and words; what it raises ends the work."""


@dataclass(frozen=True)
class Feeds:
    """What each image is drawn from."""

    blocks: tuple[str, ...]
    """Of each image: its pixels, with all its maps where they are in the file."""
    with_maps: frozenset[int]
    """Indices of the images whose maps are there."""
    missing: str
    """Why the maps of the other images are not; empty where there are no others."""


def name(image: int) -> str:
    """What the browser calls the feed of an image."""
    return f"image {image}"


def spread(n: int) -> list[int]:
    """0…n-1 in an order of which every beginning is spread about evenly: van der Corput's."""
    bits = max(1, (n - 1).bit_length())
    order = (int(f"{at:0{bits}b}"[::-1], 2) for at in range(2**bits))
    return [index for index in order if index < n]


def feeds(
    study: "Study",
    checkpoint: "Checkpoint | None",
    *,
    most_bytes: float,
    most_images: int | None,
    without: str,
    told: Told,
) -> Feeds:
    """Pixels of all images; maps of images spread evenly over the study, up to either bound.

    `without` says why there is no checkpoint.
    """
    from ...analysis.maps import AttentionMaps, attention_maps, map_bytes

    done = study.data["done"].values
    images = [index for index in range(study.n_images) if done[index]]
    none = AttentionMaps(())
    found: dict[int, str] = {}
    missing = "" if checkpoint is not None else without
    if checkpoint is not None and map_bytes(checkpoint) > figure_maps.MOST_BYTES:
        missing = (
            f"The maps of one image have {map_bytes(checkpoint) / 1e6:,.0f} MB; up to "
            f"{figure_maps.MOST_BYTES / 1e6:,.0f} MB can be shown from a file, so there are none."
        )
        checkpoint = None
    if checkpoint is not None:
        order = [images[at] for at in spread(len(images))][:most_images]
        room = most_bytes
        for at, image in enumerate(order):
            told(at / len(order), f"attention maps, image {at + 1} of {len(order)}")
            crop = study.data["pixels"][image].values
            maps = attention_maps(checkpoint, crop)
            block = packed(figure_maps.feed(name=name(image), pixels=crop, maps=maps))
            room -= len(block)
            if room < 0:
                break
            found[image] = block
    with_maps = frozenset(found)
    for image in sorted(set(range(study.n_images)) - with_maps):
        told(1.0, "pixels")
        crop = study.data["pixels"][image].values
        found[image] = packed(figure_maps.feed(name=name(image), pixels=crop, maps=none))
    if not missing and len(with_maps) < study.n_images:
        missing = (
            f"The attention maps of this image are not in this file, which has those of "
            f"{len(with_maps)} of {study.n_images} images; its numbers are."
        )
    return Feeds(tuple(found[image] for image in range(study.n_images)), with_maps, missing)
