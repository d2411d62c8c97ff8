"""What a per-head attention metric is, and the registry of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.registry import Registry

Compute = Callable[[LayerAttention], Tensor]


@dataclass(frozen=True)
class AttentionMetric:
    """A number, or a row of numbers, for each head, image by image, from one layer's attention."""

    name: str
    dims: tuple[str, ...]
    """Dimensions beyond image, layer and head, by their names in `dims`, such as `("hop",)`."""
    long_name: str
    units: str
    description: str
    """Formula, range, how to read it, source."""
    compute: Compute
    """`LayerAttention` to a tensor `image head *dims`."""
    signed: bool = False
    """Whether 0 is the middle, and the sign says which way."""
    costly: bool = False
    """Takes long beside a forward pass: computed only where it is asked for by name."""


_METRICS = Registry[AttentionMetric]("attention metrics", folder=__package__)


def attention_metric(
    *,
    long_name: str,
    units: str,
    dims: tuple[str, ...] = (),
    signed: bool = False,
    costly: bool = False,
) -> Callable[[Compute], Compute]:
    """Register a function as the metric of its name; its docstring is the description.

    It has the shape that `analysis.about` reads: formula, `Range:`, `Reading:`, `Source:`.
    """

    def register(function: Compute) -> Compute:
        name, description = function.__name__, " ".join((function.__doc__ or "").split())

        def compute(layer: LayerAttention) -> Tensor:
            return torch.cat([function(images) for images in layer.images])

        metric = AttentionMetric(
            name, dims, long_name, units, description, compute, signed=signed, costly=costly
        )
        _METRICS.add(name, metric, file=function.__module__)
        return function

    return register


def attention_metrics() -> Mapping[str, AttentionMetric]:
    """Every registered metric by name."""
    return _METRICS.all
