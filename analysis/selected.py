"""What a study measures: the metrics and ablations that were asked for, checked against a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.ablations import ablation
from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from .across import Across, across_metrics
from .importance import ImportanceMetric, importance_metrics
from .importance.metrics import known_importance_metrics
from .metrics import (
    AttentionMetric,
    HiddenMetric,
    attention_metrics,
    hidden_metrics,
)

DEFAULT = "default"
"""Among names of metrics: those that are taken where none is named."""


@dataclass(frozen=True)
class Variable:
    """What a study holds of a metric."""

    name: str
    dims: tuple[str, ...]
    """Beyond the image."""
    attributes: Mapping[str, Any]
    is_across: bool = False
    """A number of all images together: it has no image."""


@dataclass(frozen=True)
class Selected:
    """Metrics by name, in the order in which they are registered, and ablations."""

    ablations: tuple[str, ...]
    """Empty where importance is left out."""
    importance: Mapping[str, ImportanceMetric]
    attention: Mapping[str, AttentionMetric]
    hidden: Mapping[str, HiddenMetric]
    across: Mapping[str, type[Across]]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all metrics."""
        return (*self.importance, *self.attention, *self.hidden, *self.across)

    @property
    def compares(self) -> tuple[str, ...]:
        """The ablations that compare with other images."""
        return tuple(name for name in self.ablations if ablation(name).needs)

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of all metrics beyond image, ablation, layer and head."""
        dims = dict.fromkeys(dim for each in self.variables() for dim in each.dims)
        return tuple(dim for dim in dims if dim not in ("ablation", "layer", "head"))

    def variables(self) -> Iterator[Variable]:
        """What a study holds of them, importance first."""
        for metric in self.importance.values():
            attributes = _attributes(metric, metric.description) | {"scope": metric.scope}
            yield Variable(metric.name, ("ablation", "layer", "head"), attributes)
        for metric in self.attention.values():
            attributes = _attributes(metric, metric.description)
            yield Variable(metric.name, ("layer", "head", *metric.dims), attributes)
        for metric in self.hidden.values():
            attributes = _attributes(metric, metric.description)
            yield Variable(metric.name, ("layer", *metric.dims), attributes)
        for metric in self.across.values():
            attributes = _attributes(metric, metric.description())
            yield Variable(metric.name, metric.dims, attributes, is_across=True)


def _attributes(
    metric: ImportanceMetric | AttentionMetric | HiddenMetric | type[Across], description: str
) -> dict[str, Any]:
    return {
        "long_name": metric.long_name,
        "units": metric.units,
        "description": description,
        "signed": metric.signed,
    }


def select(
    checkpoint: Checkpoint,
    *,
    metrics: Sequence[str] | None,
    ablations: Sequence[str],
    importance: bool,
    labelled: bool,
) -> Selected:
    """What is to be measured.

    Args:
        checkpoint: from `load`.
        metrics: names; None: all that apply, but the costly; `DEFAULT` stands for the same.
        ablations: by name.
        importance: False: no ablations.
        labelled: whether it is known what is in the images.

    Raises:
        HeadscopeError: a name that is none, or what does not fit the checkpoint.
    """
    of_importance = importance_metrics(checkpoint, labelled=labelled) if importance else {}
    measured = {**attention_metrics(), **hidden_metrics(), **across_metrics()}
    defaults = [*of_importance, *(name for name in measured if not measured[name].costly)]
    if metrics is not None:
        given = [metrics] if isinstance(metrics, str) else metrics
        costly = [name for name in measured if measured[name].costly]
        _check_metrics(checkpoint, given, defaults, costly, labelled=labelled)
        named = {name for name in given if name != DEFAULT}
        wanted = named | set(defaults) if DEFAULT in given else named
    else:
        wanted = set(defaults)
    of_importance = {name: of_importance[name] for name in of_importance if name in wanted}
    modes = tuple(dict.fromkeys([ablations] if isinstance(ablations, str) else ablations))
    for mode in modes:
        ablation(mode).check_fits(checkpoint, range(checkpoint.n_layers))
    if of_importance and not modes:
        raise HeadscopeError(
            "There is no ablation to measure importance with; name one, such as 'zero', or leave "
            "importance out."
        )
    return Selected(
        modes if of_importance else (),
        of_importance,
        {name: each for name, each in attention_metrics().items() if name in wanted},
        {name: each for name, each in hidden_metrics().items() if name in wanted},
        {name: each for name, each in across_metrics().items() if name in wanted},
    )


def _check_metrics(
    checkpoint: Checkpoint,
    metrics: Sequence[str],
    defaults: Sequence[str],
    costly: Sequence[str],
    *,
    labelled: bool,
) -> None:
    """Raise a HeadscopeError unless every metric can be measured."""
    there = ", ".join(defaults)
    if costly:
        there += f"; and, as they take long, only where they are named: {', '.join(costly)}"
    if not metrics:
        raise HeadscopeError(f"There is no metric to measure; name one of: {there}.")
    for name in metrics:
        if name in (DEFAULT, *defaults, *costly):
            continue
        if name in importance_metrics(checkpoint, labelled=True) and not labelled:
            reason = "it needs the images' labels, or importance was left out"
        elif name in known_importance_metrics():
            reason = f"it does not fit {checkpoint.name}, or importance was left out"
        else:
            reason = "there is none of that name"
        raise HeadscopeError(
            f"The metric {name!r} cannot be measured: {reason}; there are: {there}."
        )
