"""What a per-head attention metric is, and the registry of them."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from ...models.capture import LayerAttention

Compute = Callable[[LayerAttention], Tensor]


@dataclass(frozen=True)
class AttentionMetric:
    """A number, or a row of numbers, for each head, image by image, from one layer's attention."""

    name: str
    dims: tuple[str, ...]
    """Dimensions beyond image, layer and head, such as `("hop",)`."""
    long_name: str
    units: str
    description: str
    """Formula, range, how to read it, source."""
    compute: Compute
    """`LayerAttention` to a tensor `image head *dims`."""


_METRICS: dict[str, AttentionMetric] = {}


def attention_metric(
    *, long_name: str, units: str, dims: tuple[str, ...] = ()
) -> Callable[[Compute], Compute]:
    """Register a function as the metric of its name; its docstring is the description."""

    def register(function: Compute) -> Compute:
        if function.__name__ in _METRICS:
            raise ValueError(f"there are two attention metrics called {function.__name__!r}")
        description = " ".join((function.__doc__ or "").split())
        _METRICS[function.__name__] = AttentionMetric(
            function.__name__, dims, long_name, units, description, function
        )
        return function

    return register


@cache
def _load_all() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def attention_metrics() -> dict[str, AttentionMetric]:
    """Every registered metric by name."""
    _load_all()
    return dict(sorted(_METRICS.items()))
