"""What an ablation changes, as numbers: each a registered function of the four outputs.

A *local* metric compares the layer's output with and without the head, a *global* one the model's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.layout import PATCH
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
    """Register a function of `Outputs` to `head image`; its docstring is the description."""

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


def known_importance_metrics() -> tuple[str, ...]:
    """The names of all metrics, also of those that need another model or labels."""
    return tuple(_METRICS.all)


def _has_classes(checkpoint: Checkpoint) -> bool:
    return checkpoint.has_classes


def _has_more_than_top(checkpoint: Checkpoint) -> bool:
    return len(checkpoint.labels) > TOP


def _has_class_token(checkpoint: Checkpoint) -> bool:
    return "class" in checkpoint.common.query_kinds


def _has_patches(checkpoint: Checkpoint) -> bool:
    return PATCH in checkpoint.common.query_kinds


def _has_features(checkpoint: Checkpoint) -> bool:
    return not checkpoint.has_classes


# -- global: the model's output -----------------------------------------------------------------


@importance_metric(
    long_name="Drop of the target's probability",
    units="probability",
    applies=_has_classes,
    signed=True,
)
def probability_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """p(target) − p(target without the head), from −1 to 1. Positive: the head speaks for the
    target; negative: it speaks against it.
    """
    return outputs.target_probability(outputs.model) - outputs.target_probability(
        outputs.ablated_model
    )


@importance_metric(
    long_name="Drop of the target's logit", units="logit", applies=_has_classes, signed=True
)
def logit_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """z(target) − z(target without the head), with z the logit; unbounded. Positive: the head
    raises the target's logit. A change that all logits share counts here, and not in the
    probability.
    """
    return outputs.of_target(outputs.model) - outputs.of_target(outputs.ablated_model)


@importance_metric(
    long_name="Drop of the target's margin", units="logit", applies=_has_classes, signed=True
)
def margin_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """m − m′, with m = z(target) − the largest other logit, and m′ the same without the head;
    unbounded. Positive: the target comes closer to being overtaken, or falls further back. It does
    not saturate where the model is sure, as the probability does.
    """

    def margin(logits: Tensor) -> Tensor:
        of_target = outputs.target.expand(logits.shape[:-1]).unsqueeze(-1)
        others = logits.scatter(-1, of_target, -torch.inf).amax(-1)
        return outputs.of_target(logits) - others

    return margin(outputs.model) - margin(outputs.ablated_model)


@importance_metric(
    long_name="Increase of the cross-entropy", units="nats", applies=_has_classes, signed=True
)
def cross_entropy_increase(outputs: Outputs) -> Float[Tensor, "head image"]:
    """ln p(target) − ln p(target without the head); unbounded. Positive: the target is less likely
    without the head. Unlike the drop of probability it counts ratios: from 0.02 to 0.01 is as much
    as from 1 to 0.5.
    """
    return outputs.of_target(outputs.model.log_softmax(-1)) - outputs.of_target(
        outputs.ablated_model.log_softmax(-1)
    )


@importance_metric(
    long_name="Change of the prediction (Jensen–Shannon)", units="nats", applies=_has_classes
)
def js_divergence(outputs: Outputs) -> Float[Tensor, "head image"]:
    """½ KL(p‖m) + ½ KL(q‖m), with p and q the class probabilities with and without the head and
    m = ½(p + q). From 0 (nothing changes) to ln 2; it sees changes among all classes. Lin,
    "Divergence Measures Based on the Shannon Entropy" (1991).
    """
    p, q = outputs.model.softmax(-1), outputs.ablated_model.softmax(-1)
    entropy = torch.special.entr
    divergence = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return divergence.sum(-1).clamp_min(0)


@importance_metric(
    long_name="Change of the prediction (Kullback–Leibler)", units="nats", applies=_has_classes
)
def kl_divergence(outputs: Outputs) -> Float[Tensor, "head image"]:
    """KL(p‖q) = Σ p (ln p − ln q), with p and q the class probabilities with and without the head.
    From 0 (nothing changes), without an upper end: what the model was sure of and is no more
    counts most. Kullback & Leibler, "On Information and Sufficiency" (1951).
    """
    p, q = outputs.model.log_softmax(-1), outputs.ablated_model.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)


@importance_metric(long_name="Flipped prediction", units="share", applies=_has_classes)
def flip(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the likeliest class is another one without the head, else 0, whatever the target; its
    mean over images is the share of predictions that the head decides.
    """
    changed = outputs.model.argmax(-1) != outputs.ablated_model.argmax(-1)
    return changed.to(outputs.model.dtype)


@importance_metric(
    long_name="Ranks that the target falls", units="ranks", applies=_has_classes, signed=True
)
def rank_change(outputs: Outputs) -> Float[Tensor, "head image"]:
    """r′ − r, with r the number of classes that are likelier than the target, and r′ the same
    without the head. From −(classes − 1) to classes − 1; positive: the target falls behind.
    """
    return outputs.rank(outputs.ablated_model, outputs.target) - outputs.rank(
        outputs.model, outputs.target
    )


@importance_metric(
    long_name="Target leaves the first five", units="share", applies=_has_more_than_top
)
def top5_lost(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the target is among the five likeliest classes and is not without the head, else 0;
    only for models with more than five classes.
    """
    before, after = (
        outputs.rank(logits, outputs.target) < TOP
        for logits in (outputs.model, outputs.ablated_model)
    )
    return (before & ~after).to(outputs.model.dtype)


@importance_metric(
    long_name="Drop of top-1 accuracy",
    units="share",
    applies=_has_classes,
    needs_labels=True,
    signed=True,
)
def top1_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the label is the likeliest class and is not without the head, −1 where it comes to
    be, else 0; its mean over images is the drop of top-1 accuracy. NaN for images without a label.
    """
    return _accuracy_drop(outputs, 1)


@importance_metric(
    long_name="Drop of top-5 accuracy",
    units="share",
    applies=_has_more_than_top,
    needs_labels=True,
    signed=True,
)
def top5_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the label is among the five likeliest classes and is not without the head, −1 where
    it comes to be, else 0; its mean over images is the drop of top-5 accuracy. NaN for images
    without a label; only for models with more than five classes.
    """
    return _accuracy_drop(outputs, TOP)


def _accuracy_drop(outputs: Outputs, top: int) -> Float[Tensor, "head image"]:
    if outputs.label is None:
        raise TypeError("this metric needs the images' labels")
    label: Int[Tensor, " image"] = outputs.label
    before, after = (
        (outputs.rank(logits, label.clamp_min(0)) < top).to(logits.dtype)
        for logits in (outputs.model, outputs.ablated_model)
    )
    return torch.where(label >= 0, before - after, torch.nan)


@importance_metric(
    long_name="Change of the features (1 − cosine)", units="1 − cosine", applies=_has_features
)
def feature_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(f, f′), with f and f′ the model's output features with and without the head. From 0
    to 2; for models without classes.
    """
    # From the difference of unit vectors: 1 − a·b would lose a small change in rounding.
    before, after = (
        torch.nn.functional.normalize(features, dim=-1)
        for features in (outputs.model, outputs.ablated_model)
    )
    return (before - after).square().sum(-1) / 2


# -- local: the layer's output ------------------------------------------------------------------


@importance_metric(
    long_name="Change of the class row (1 − cosine)",
    units="1 − cosine",
    applies=_has_class_token,
    scope="local",
)
def class_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(c, c′), with c and c′ the class token's row of the layer's output with and without
    the head. From 0 (same direction) to 2; local: what later layers make of it does not count.
    """
    return outputs.row_cosine[..., outputs.rows("class")].mean(-1)


@importance_metric(
    long_name="Change of the class row (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_class_token,
    scope="local",
)
def class_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖c − c′‖ / ‖c‖, with c and c′ the class token's row of the layer's output with and without
    the head. From 0, without an upper end; unlike the cosine it also sees a change of length.
    """
    return outputs.row_l2[..., outputs.rows("class")].mean(-1)


@importance_metric(
    long_name="Change of the patch rows (1 − cosine)",
    units="1 − cosine",
    applies=_has_patches,
    scope="local",
)
def patch_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(x, x′), with x and x′ a patch's row of the layer's output with and without the head;
    mean over patches, from 0 to 2. NaN in the last layer where the output reads prefix tokens
    alone: no part of the model reads what leaves its patches.
    """
    return outputs.row_cosine[..., outputs.rows(PATCH)].mean(-1)


@importance_metric(
    long_name="Change of the patch rows (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_patches,
    scope="local",
)
def patch_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖x − x′‖ / ‖x‖, with x and x′ a patch's row of the layer's output with and without the head;
    mean over patches, from 0. NaN in the last layer where the output reads prefix tokens alone: no
    part of the model reads what leaves its patches.
    """
    return outputs.row_l2[..., outputs.rows(PATCH)].mean(-1)


@importance_metric(
    long_name="Change of all rows (1 − cosine)",
    units="1 − cosine",
    applies=_has_patches,
    scope="local",
)
def all_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(x, x′), with x and x′ a token's row of the layer's output with and without the head;
    mean over all tokens, from 0 to 2. In the last layer over those that the model's output reads.
    """
    return outputs.row_cosine.mean(-1)


@importance_metric(
    long_name="Change of all rows (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_patches,
    scope="local",
)
def all_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖x − x′‖ / ‖x‖, with x and x′ a token's row of the layer's output with and without the head;
    mean over all tokens, from 0. In the last layer over those that the model's output reads.
    """
    return outputs.row_l2.mean(-1)
