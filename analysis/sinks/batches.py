"""Images in batches ready for a model, read when their turn comes."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from ...models.images import one_or_many

BATCH_SIZE = 8
"""Images in one forward pass."""


def held(images: Images) -> Images:
    """Images that can be gone through more than once, also where they came one by one."""
    return images if isinstance(images, Tensor) else one_or_many(images)


def batches(
    checkpoint: Checkpoint, images: Images, size: int = BATCH_SIZE
) -> Iterator[Float[Tensor, "image channel row column"]]:
    """Some images at a time, as often as it is called.

    Raises:
        HeadscopeError: there is no image, or one cannot be read.
    """
    if isinstance(images, Tensor):
        checkpoint.check_batch(images)
        given = images
    else:
        given = one_or_many(images)
    if not len(given):
        raise HeadscopeError("There is no image; give at least one.")
    for start in range(0, len(given), size):
        yield checkpoint.batch(given[start : start + size])
