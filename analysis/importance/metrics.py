"""What an ablation changes, as numbers: each a registered function of the four outputs.

A *local* metric compares the layer's output with and without the head, a *global* one the model's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.registry import Registry
from .outputs import Outputs

Compute = Callable[[Outputs], Tensor]
Scope = Literal["global", "local"]
TOP = 5


@dataclass(frozen=True)
class ImportanceMetric:
    """One number for each head and image from the four outputs; larger is more important."""

    name: str
    long_name: str
    units: str
    description: str
    applies: Callable[[Checkpoint], bool]
    compute: Compute
    needs_labels: bool = False
    """Whether it is about what is really in the images."""
    signed: bool = False
    """Whether 0 is the middle, and the sign says which way."""
    scope: Scope = "global"
    """Whether it compares the layer's output or the model's."""


_METRICS = Registry[ImportanceMetric]("importance metrics")


def importance_metric(
    *,
    long_name: str,
    units: str,
    applies: Callable[[Checkpoint], bool],
    needs_labels: bool = False,
    signed: bool = False,
    scope: Scope = "global",
) -> Callable[[Compute], Compute]:
    """Register a function of `Outputs` to `head image`; its docstring is the description.

    It has the shape that `analysis.about` reads: formula, `Range:`, `Reading:`, `Source:`.
    """

    def register(function: Compute) -> Compute:
        name, description = function.__name__, " ".join((function.__doc__ or "").split())
        metric = ImportanceMetric(
            name,
            long_name,
            units,
            description,
            applies,
            function,
            needs_labels=needs_labels,
            signed=signed,
            scope=scope,
        )
        _METRICS.add(name, metric)
        return function

    return register


def importance_metrics(
    checkpoint: Checkpoint, *, labelled: bool = False
) -> dict[str, ImportanceMetric]:
    """The metrics that apply to a checkpoint, by name; some where labels are known alone."""
    return {
        name: metric
        for name, metric in _METRICS.all.items()
        if metric.applies(checkpoint) and (labelled or not metric.needs_labels)
    }


def all_importance_metrics() -> Mapping[str, ImportanceMetric]:
    """Every metric by name, also those that need another model or labels."""
    return _METRICS.all


def known_importance_metrics() -> tuple[str, ...]:
    """The names of all metrics, also of those that need another model or labels."""
    return tuple(_METRICS.all)
