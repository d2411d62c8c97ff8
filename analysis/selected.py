"""What a study measures: the metrics and ablations that were asked for, checked against a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..models.ablations import ablation
from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from .importance import ImportanceMetric, importance_metrics
from .importance.metrics import known_importance_metrics
from .metrics import AttentionMetric, attention_metrics


@dataclass(frozen=True)
class Selected:
    """Metrics by name, in the order in which they are registered, and ablations."""

    ablations: tuple[str, ...]
    """Empty where importance is left out."""
    importance: Mapping[str, ImportanceMetric]
    attention: Mapping[str, AttentionMetric]

    @property
    def compares(self) -> tuple[str, ...]:
        """The ablations that compare with other images."""
        return tuple(name for name in self.ablations if ablation(name).needs)


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
        metrics: names of importance and attention metrics; None: all that apply.
        ablations: by name.
        importance: False: no ablations.
        labelled: whether it is known what is in the images.

    Raises:
        HeadscopeError: a name that is none, or what does not fit the checkpoint.
    """
    of_importance = importance_metrics(checkpoint, labelled=labelled) if importance else {}
    of_attention = dict(attention_metrics())
    if metrics is not None:
        _check_metrics(checkpoint, metrics, [*of_importance, *of_attention], labelled=labelled)
        of_importance = {name: of_importance[name] for name in of_importance if name in metrics}
        of_attention = {name: of_attention[name] for name in of_attention if name in metrics}
    modes = tuple(dict.fromkeys([ablations] if isinstance(ablations, str) else ablations))
    for mode in modes:
        ablation(mode).check_fits(checkpoint, range(checkpoint.n_layers))
    if of_importance and not modes:
        raise HeadscopeError(
            "There is no ablation to measure importance with; name one, such as 'zero', or leave "
            "importance out."
        )
    return Selected(modes if of_importance else (), of_importance, of_attention)


def _check_metrics(
    checkpoint: Checkpoint, metrics: Sequence[str], there: Sequence[str], *, labelled: bool
) -> None:
    """Raise a HeadscopeError unless every metric can be measured."""
    if not metrics:
        raise HeadscopeError(f"There is no metric to measure; name one of: {', '.join(there)}.")
    for name in metrics:
        if name in there:
            continue
        if name in importance_metrics(checkpoint, labelled=True) and not labelled:
            reason = "it needs the images' labels, or importance was left out"
        elif name in known_importance_metrics():
            reason = f"it does not fit {checkpoint.name}, or importance was left out"
        else:
            reason = "there is none of that name"
        raise HeadscopeError(
            f"The metric {name!r} cannot be measured: {reason}; there are: {', '.join(there)}."
        )
