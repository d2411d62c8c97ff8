"""Images that stand for the whole range of a number, not for its top alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DECILES = 10


@dataclass(frozen=True)
class Place:
    """An image, and the part of the range that it stands for."""

    image: int
    part: int
    """From 1: with the lowest values."""
    n_parts: int
    """Parts of equally many images: 10, or as many as there are images with a value."""
    value: float


def by_decile(values: Float[np.ndarray, " image"], n_parts: int = DECILES) -> tuple[Place, ...]:
    """One image from the middle of each tenth of the images, in the order of a number.

    Of n images in order, part d of m stands at ⌊(d − ½) n / m⌋; images of equal value stay in
    their order. NaN has no place. With fewer images than parts, each image is a part.
    """
    there = np.flatnonzero(np.isfinite(values))
    ordered = there[np.argsort(values[there], kind="stable")]
    m = min(n_parts, len(ordered))
    places = ((np.arange(m) + 0.5) * len(ordered) / max(m, 1)).astype(int)
    return tuple(
        Place(int(image), part, m, float(values[image]))
        for part, image in enumerate(ordered[places], start=1)
    )
