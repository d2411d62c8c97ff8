"""Head importance: what leaving one head out changes, exactly and from its layer on.

After the pruning-based head importance of Li et al. (TVCG 2023): four outputs are kept for each
image and head, the layer's and the model's, each with and without the head. A *local* metric
compares the first pair, a *global* one the second.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.ablation import ablation
from ..models.checkpoint import Checkpoint
from ..models.layout import TokenLayout
from ..models.registry import Registry
from ..models.replay import Replay

ELEMENTS_AT_ONCE = 16 * 197 * 768
"""Numbers in the hidden state of one batch of ablated images: 16 images for ViT-B/16. Larger
batches leave a CPU's caches, smaller ones its cores."""


@dataclass(frozen=True)
class Outputs:
    """The four outputs of a set of ablations; an ablated one has a leading axis for the heads."""

    layer: Float[Tensor, "image row channel"]
    ablated_layer: Float[Tensor, "head image row channel"]
    model: Float[Tensor, "image output"]
    ablated_model: Float[Tensor, "head image output"]
    target: Int[Tensor, " image"]
    """Class index of each image; -1 for a model without classes."""
    layout: TokenLayout

    def target_probability(self, logits: Float[Tensor, "... image output"]) -> Tensor:
        """Probability of each image's target, `... image`."""
        target = self.target.expand(logits.shape[:-1]).unsqueeze(-1)
        return logits.softmax(-1).gather(-1, target).squeeze(-1)


Compute = Callable[[Outputs], Tensor]


@dataclass(frozen=True)
class ImportanceMetric:
    """One number for each head and image from the four outputs; larger is more important."""

    name: str
    long_name: str
    units: str
    description: str
    applies: Callable[[Checkpoint], bool]
    compute: Compute


_METRICS = Registry[ImportanceMetric]("importance metrics")


def importance_metric(
    *, long_name: str, units: str, applies: Callable[[Checkpoint], bool]
) -> Callable[[Compute], Compute]:
    """Register a function of `Outputs` to `head image`; its docstring is the description."""

    def register(function: Compute) -> Compute:
        name, description = function.__name__, " ".join((function.__doc__ or "").split())
        _METRICS.add(name, ImportanceMetric(name, long_name, units, description, applies, function))
        return function

    return register


def importance_metrics(checkpoint: Checkpoint) -> dict[str, ImportanceMetric]:
    """The metrics that apply to a checkpoint, by name."""
    return {name: metric for name, metric in _METRICS.all.items() if metric.applies(checkpoint)}


def _has_classes(checkpoint: Checkpoint) -> bool:
    return checkpoint.has_classes


def _has_class_token(checkpoint: Checkpoint) -> bool:
    return "class" in checkpoint.layout.present_kinds


def _has_features(checkpoint: Checkpoint) -> bool:
    return not checkpoint.has_classes


@importance_metric(
    long_name="Drop of the target's probability", units="probability", applies=_has_classes
)
def probability_drop(outputs: Outputs) -> Tensor:
    """p(target) − p(target without the head), from −1 to 1. Positive: the head speaks for the
    target; negative: it speaks against it.
    """
    return outputs.target_probability(outputs.model) - outputs.target_probability(
        outputs.ablated_model
    )


@importance_metric(
    long_name="Change of the prediction (Jensen–Shannon)", units="nats", applies=_has_classes
)
def js_divergence(outputs: Outputs) -> Tensor:
    """½ KL(p‖m) + ½ KL(q‖m), with p and q the class probabilities with and without the head and
    m = ½(p + q). From 0 (nothing changes) to ln 2; it sees changes among all classes.
    """
    p, q = outputs.model.softmax(-1), outputs.ablated_model.softmax(-1)
    entropy = torch.special.entr
    divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return divergence.sum(-1).clamp_min(0)


@importance_metric(
    long_name="Change of the class row (1 − cosine)", units="1 − cosine", applies=_has_class_token
)
def class_cosine(outputs: Outputs) -> Tensor:
    """1 − cos(c, c′), with c and c′ the class token's row of the layer's output with and without
    the head. From 0 (same direction) to 2; local: what later layers make of it does not count.
    """
    row = int(outputs.layout.tokens("class")[0])
    return _cosine_distance(outputs.layer[:, row], outputs.ablated_layer[:, :, row])


@importance_metric(
    long_name="Change of the features (1 − cosine)", units="1 − cosine", applies=_has_features
)
def feature_cosine(outputs: Outputs) -> Tensor:
    """1 − cos(f, f′), with f and f′ the model's output features with and without the head. From 0
    to 2; for models without classes.
    """
    return _cosine_distance(outputs.model, outputs.ablated_model)


def _cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    # From the difference of unit vectors: 1 − a·b would lose a small change in rounding.
    unit_a, unit_b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
    return (unit_a - unit_b).square().sum(-1) / 2


def head_importance(
    replay: Replay,
    target: Int[Tensor, " image"],
    mode: str,
    metrics: Sequence[ImportanceMetric],
) -> Iterator[tuple[int, dict[str, Float[Tensor, "image head"]]]]:
    """Leave out each head in turn; give one layer's scores at a time, float64.

    The heads of a layer are run in batches of about `ELEMENTS_AT_ONCE` numbers.
    """
    checkpoint, replace = replay.checkpoint, ablation(mode)
    for layer, n_heads in enumerate(checkpoint.n_heads):
        clean = replay.heads(layer)
        n_at_once = max(1, ELEMENTS_AT_ONCE // clean.numel())
        parts: dict[str, list[Tensor]] = {metric.name: [] for metric in metrics}
        for chunk in torch.arange(n_heads).split(n_at_once):
            heads = clean.expand(len(chunk), *clean.shape).clone()
            for variant, head in enumerate(chunk.tolist()):
                heads[variant, :, head] = replace(clean[:, head])
            ablated_layer, ablated_model = replay.resume(layer, heads)
            outputs = Outputs(
                replay.layer_output(layer).double(),
                ablated_layer.double(),
                replay.output.double(),
                ablated_model.double(),
                target,
                checkpoint.layout,
            )
            for metric in metrics:
                parts[metric.name].append(metric.compute(outputs))
        yield layer, {name: torch.cat(scores).T.cpu() for name, scores in parts.items()}
