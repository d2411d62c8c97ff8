"""Images to measure on, and how many of them a checkpoint can be asked for."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint, Photograph, Study

IMAGES = 12
"""Most images that heads are removed together on."""
LEAST_IMAGES = 4
"""Where a checkpoint is large, as far as there are so many."""
_DEMO = 6 * 145 * 128**2
"""The work of one pass of a demo checkpoint: layers × tokens × channels²."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images to measure on, read when their turn comes."""

    key: Hashable
    words: str
    """As in "1,000 demo scenes"."""
    n: int
    crops: "Callable[[Checkpoint, Sequence[int]], UInt8[np.ndarray, 'image row column 3']]"

    def spread(self, most: int) -> list[int]:
        """At most so many of them, evenly over all."""
        return np.unique(np.linspace(0, self.n - 1, min(most, self.n)).round().astype(int)).tolist()


def one_picture(photograph: "Photograph") -> Pictures:
    """The picture that the page shows."""
    return Pictures(
        photograph.digest,
        "this picture",
        1,
        lambda checkpoint, _: checkpoint.crop(photograph)[None],
    )


def of_study(study: "Study") -> Pictures:
    """The images of a study that are done, as the model saw them."""
    done = np.flatnonzero(study.data["done"].values)
    return Pictures(
        (str(study.path), study.model_digest, study.data.attrs["settings"], len(done)),
        "images of the study",
        len(done),
        lambda _, places: study.data["pixels"].isel(image=done[list(places)]).values,
    )


def many(checkpoint: "Checkpoint") -> Pictures:
    """What a checkpoint can be measured on without a study: scenes for a demo, else the samples."""
    from ...models.demo.scenes import HELD_OUT, scene
    from ...models.images import read_image
    from ...models.samples import sample_images

    if checkpoint.name.startswith("demo/"):

        def draw(checkpoint: "Checkpoint", places: Sequence[int]) -> Any:
            scenes = [read_image(scene(HELD_OUT[place]).image, name="scene") for place in places]
            return np.stack([checkpoint.crop(photograph) for photograph in scenes])

        return Pictures("scenes", "demo scenes", len(HELD_OUT), draw)
    samples = list(sample_images().values())

    def read(checkpoint: "Checkpoint", places: Sequence[int]) -> Any:
        return np.stack([checkpoint.crop(samples[place].read()) for place in places])

    return Pictures("samples", "sample pictures", len(samples), read)


def images_for(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """Of how many pictures the curves and the synergy are: fewer for larger checkpoints."""
    share = min(1.0, 1 / passes(checkpoint))
    return min(pictures.n, max(LEAST_IMAGES, round(IMAGES * share)))


def is_quick(checkpoint: "Checkpoint") -> bool:
    """Whether curves and synergy take seconds rather than minutes."""
    return passes(checkpoint) <= 4


def passes(checkpoint: "Checkpoint") -> float:
    """What one pass takes, in passes of a demo checkpoint."""
    work = sum(layer.queries * layer.channels**2 for layer in checkpoint.report.layers)
    return work / _DEMO
