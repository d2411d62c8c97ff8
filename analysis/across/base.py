"""What a number of all images together is, and the registry of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from ...models.capture import LayerAttention
from ...models.checkpoint import Checkpoint
from ...models.registry import Registry


class Across(ABC):
    """Numbers that no single image has: what differs, or stays, from image to image.

    A subclass with a `name` registers itself; its docstring is the description, in the shape that
    `analysis.about` reads: formula, `Range:`, `Reading:`, `Source:`. Its memory is fixed: it must
    not grow with the number of images. `analyze` makes one for a run and writes what it gives once
    all images are folded in. A study that is gone on with folds the images that are done again, in
    another forward pass.
    """

    name: ClassVar[str]
    long_name: ClassVar[str]
    units: ClassVar[str]
    dims: ClassVar[tuple[str, ...]]
    """`layer`, `head`, `layer_2`, `head_2`, and those of `analysis.metrics.dims`; no image."""
    signed: ClassVar[bool] = False
    """Whether 0 is the middle, and the sign says which way."""
    costly: ClassVar[bool] = False
    """Takes long beside a forward pass: computed only where it is asked for by name."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls):
            _METRICS.add(cls.name, cls, file=cls.__module__)

    @classmethod
    def description(cls) -> str:
        """Formula, range, how to read it, source."""
        return " ".join((cls.__doc__ or "").split())

    @abstractmethod
    def fold(self, layer: LayerAttention) -> None:
        """Take in one layer of one batch; layers come in order, the last one ends the batch."""

    @abstractmethod
    def finish(self) -> Float[np.ndarray, "layer head ..."]:
        """The numbers over all that was folded in; NaN for heads that a layer does not have."""


_METRICS = Registry[type[Across]]("numbers across images", folder=__package__)


def across_metrics() -> Mapping[str, type[Across]]:
    """Every registered sort by name."""
    return _METRICS.all


def side_by_side(
    layers: Sequence[Float[np.ndarray, "head ..."]],
) -> Float[np.ndarray, "layer head ..."]:
    """Numbers of each layer's heads; layers with fewer heads are filled up with NaN."""
    n_heads = max(len(layer) for layer in layers)
    stacked = np.full((len(layers), n_heads, *layers[0].shape[1:]), np.nan)
    for index, layer in enumerate(layers):
        stacked[index, : len(layer)] = layer
    return stacked
