"""Where the truth is: masks of the demo's scenes, and masks from files."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool

from ...models.checkpoint import Checkpoint, Preprocessing
from ...models.demo.scenes import Scene, scene
from ...models.errors import HeadscopeError
from ...models.images import ImageSource, Photograph, read_image

ROLES = ("target", "star")
"""Objects of a scene that its class is about: "striped disc, left of the star" names both. Which
kind it is can be seen at the target alone, the side only from the two; distractors do not count."""


def scene_masks(
    scenes: Iterable[int | Scene], *, roles: Sequence[str] = ROLES
) -> Bool[np.ndarray, "image row column"]:
    """The truth for the class of demo scenes, by seed: the pixels of the objects it is about.

    Raises:
        HeadscopeError: no such role, or none at all.
    """
    unknown = set(roles) - {*ROLES, "distractor"}
    if unknown or not roles:
        raise HeadscopeError(
            f"There is no role {', '.join(sorted(unknown)) or 'given'}; the objects of a scene "
            "are: target, star, distractor."
        )
    drawn = [one if isinstance(one, Scene) else scene(one) for one in scenes]
    return np.stack(
        [
            np.any([thing.mask for thing in one.objects if thing.role in roles], axis=0)
            for one in drawn
        ]
    )


def read_mask(
    source: ImageSource | Photograph, checkpoint: Checkpoint | Preprocessing
) -> Bool[np.ndarray, "row column"]:
    """A mask from an image file, resized and cropped as the model's input is.

    Any image whose object is brighter than the rest: a pixel belongs to it that is more than half
    as bright as the brightest. It must show the whole photograph, at any resolution.

    Raises:
        HeadscopeError: no image, or one that marks nothing, or everything.
    """
    photograph = source if isinstance(source, Photograph) else read_image(source)
    brightness = photograph.pixels.max(-1)
    # Files with class indices hold 1, others 255.
    marked = brightness.astype(np.float64) * 2 > max(int(brightness.max()), 1)
    if isinstance(checkpoint, Checkpoint):
        checkpoint = checkpoint.preprocessing
    pixels = np.repeat(marked[..., None].astype(np.uint8) * 255, 3, axis=-1)
    cropped = checkpoint.crop(
        Photograph(photograph.name, pixels, photograph.digest, photograph.path, ())
    )
    mask = cropped[..., 0] >= 128
    if mask.all() or not mask.any():
        what = "everything" if mask.all() else "nothing"
        raise HeadscopeError(
            f"The mask {photograph.name} marks {what} of what the model sees; expected an image "
            "that is bright where the object is and dark elsewhere."
        )
    return mask
