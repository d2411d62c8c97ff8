"""Where maps come from: images of any source, or the images of a study."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.images import one_or_many
from ..reloading import checkpoint_of
from ..sources import Image, find_sources
from ..study import Study
from .maps import PatternMaps, Progress, collect, silent


def maps_of_images(
    checkpoint: Checkpoint,
    images: Image | Iterable[Image],
    *,
    form: str = "offset",
    progress: Progress = silent,
) -> PatternMaps:
    """The maps of all heads of a checkpoint, for images as `analyze` takes them.

    Raises:
        HeadscopeError: an image cannot be read, or there is no such form.
    """
    given = one_or_many(images)

    def checking(place: int) -> None:
        progress("Checking the images", place / len(given))

    sources = find_sources(given, checking, None)

    def crops(indices: Sequence[int]) -> UInt8[np.ndarray, "image row column 3"]:
        return np.stack([checkpoint.crop(sources[index].photograph()) for index in indices])

    names = [source.name for source in sources]
    return collect(checkpoint, crops, names, form=form, progress=progress)


def maps_of_study(
    study: Study,
    checkpoint: Checkpoint | None = None,
    *,
    form: str = "offset",
    progress: Progress = silent,
) -> PatternMaps:
    """The maps of all heads for the images of a study that are done.

    Args:
        study: it has the pixels that the model saw.
        checkpoint: that of the study, if it is loaded; None loads it as it was loaded then.
        form: a name of `forms.FORMS`.
        progress: told the share of images that are done.

    Raises:
        HeadscopeError: the checkpoint is another one, or is not there any more.
    """
    own = checkpoint_of(study, checkpoint)
    done = np.flatnonzero(study.data["done"].values)
    if not len(done):
        raise HeadscopeError("No image of the study is done; finish it first.")
    pixels = study.data["pixels"]

    def crops(indices: Sequence[int]) -> UInt8[np.ndarray, "image row column 3"]:
        return pixels.isel(image=done[list(indices)]).values

    names = [str(name) for name in study.data["image"].values[done]]
    return collect(own, crops, names, form=form, progress=progress)
