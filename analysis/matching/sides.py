"""What is matched: the heads of two checkpoints, on the images that both studies have."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..study import Study

IMAGES = 256
"""Most images that heads are compared on, evenly spread over those that are shared: memory grows
with heads × images."""


T = TypeVar("T")


class NotThere(Exception):  # noqa: N818 (no error: the other criteria go on)
    """A criterion cannot be told of two studies; its text says why."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two checkpoints."""

    study: Study
    images: Int[np.ndarray, " image"]
    """Where the shared images stand in the study."""
    checkpoint: Checkpoint | None = None
    why_not: str = ""
    """Why there is no checkpoint."""
    _kept: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, kept: a series reads each checkpoint once, for both its neighbours."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def forget(self) -> None:
        """Give back the memory of what was kept."""
        self._kept.clear()

    @cached_property
    def heads(self) -> Int[np.ndarray, "head 2"]:
        """Layer and head of every head, in order."""
        counts = self.study.data["n_heads"].values
        return np.array([(layer, head) for layer, n in enumerate(counts) for head in range(n)])

    def of_heads(self, variable: xr.DataArray, *dims: str) -> Float[np.ndarray, "image head ..."]:
        """Numbers of the study, on the shared images and without heads that a layer lacks; then
        the variable's other `dims`. Only these images are read."""
        own = variable.isel(image=self.images).transpose("image", "layer", "head", *dims)
        return own.values[:, self.heads[:, 0], self.heads[:, 1]].astype(float)


def shared_images(studies: Sequence[Study]) -> Int[np.ndarray, "study image"]:
    """Where each image that is done in all studies stands in each, in the order of the first.

    Images are the same where their digests are, whatever they are called.

    Raises:
        HeadscopeError: they have no image in common that is done.
    """
    places = []
    for study in studies:
        done = study.data["done"].values
        digests = study.data["image_digest"].values.tolist()
        places.append({d: i for i, d in reversed(list(enumerate(digests))) if done[i]})
    shared = [d for d in places[0] if all(d in own for own in places[1:])]
    if not shared:
        counts = " and ".join(str(len(own)) for own in places)
        raise HeadscopeError(
            f"The studies have no image in common ({counts} images are done); analyse the same "
            "files with each checkpoint."
        )
    shared.sort(key=lambda digest: places[0][digest])
    return np.array([[own[digest] for digest in shared] for own in places])


def spread(n: int, most: int) -> Int[np.ndarray, " image"]:
    """At most so many of `n`, evenly over all."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
