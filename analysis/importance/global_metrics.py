"""What an ablation changes of the model's output."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from .metrics import TOP, importance_metric
from .outputs import Outputs


def _has_classes(checkpoint: Checkpoint) -> bool:
    return checkpoint.has_classes


def _has_more_than_top(checkpoint: Checkpoint) -> bool:
    return len(checkpoint.labels) > TOP


def _has_features(checkpoint: Checkpoint) -> bool:
    return not checkpoint.has_classes


@importance_metric(
    long_name="Drop of the target's probability",
    units="probability",
    applies=_has_classes,
    signed=True,
)
def probability_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """p(target) − p(target without the head).

    Range: −1 to 1.
    Reading: positive: the head speaks for the target; negative: it speaks against it. Where the
    model is sure it moves little: see the margin.
    Source: after Li et al., "How Does Attention Work in Vision Transformers?" (2023), who compare
    the model's output with and without a head.
    """
    return outputs.target_probability(outputs.model) - outputs.target_probability(
        outputs.ablated_model
    )


@importance_metric(
    long_name="Drop of the target's logit", units="logit", applies=_has_classes, signed=True
)
def logit_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """z(target) − z(target without the head), with z the logit.

    Range: unbounded; 0: the head does not matter to it.
    Reading: positive: the head raises the target's logit. A change that all logits share counts
    here, and not in the probability.
    Source: our own, after Li et al. (2023), who take the probability.
    """
    return outputs.of_target(outputs.model) - outputs.of_target(outputs.ablated_model)


@importance_metric(
    long_name="Drop of the target's margin", units="logit", applies=_has_classes, signed=True
)
def margin_drop(outputs: Outputs) -> Float[Tensor, "head image"]:
    """m − m′, with m = z(target) − the largest other logit, and m′ the same without the head.

    Range: unbounded; 0: the head does not matter to it.
    Reading: positive: the target comes closer to being overtaken, or falls further back. It does
    not saturate where the model is sure, as the probability does.
    Source: our own.
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
    """ln p(target) − ln p(target without the head).

    Range: unbounded; 0: the head does not matter to it.
    Reading: positive: the target is less likely without the head. Unlike the drop of probability it
    counts ratios: from 0.02 to 0.01 is as much as from 1 to 0.5.
    Source: our own; Michel et al., "Are Sixteen Heads Really Better than One?" (2019), take the
    loss's slope on a head's mask.
    """
    return outputs.of_target(outputs.model.log_softmax(-1)) - outputs.of_target(
        outputs.ablated_model.log_softmax(-1)
    )


@importance_metric(
    long_name="Change of the prediction (Jensen–Shannon)", units="nats", applies=_has_classes
)
def js_divergence(outputs: Outputs) -> Float[Tensor, "head image"]:
    """½ KL(p‖m) + ½ KL(q‖m), with p and q the class probabilities with and without the head and m =
    ½(p + q).

    Range: 0 (nothing changes) to ln 2.
    Reading: it sees changes among all classes, whatever the target.
    Source: Lin, "Divergence Measures Based on the Shannon Entropy" (1991).
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

    Range: from 0 (nothing changes), without an upper end.
    Reading: what the model was sure of and is no more counts most.
    Source: Kullback & Leibler, "On Information and Sufficiency" (1951).
    """
    p, q = outputs.model.log_softmax(-1), outputs.ablated_model.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0)


@importance_metric(long_name="Flipped prediction", units="share", applies=_has_classes)
def flip(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the likeliest class is another one without the head, else 0.

    Range: 0 or 1 for an image; the mean over images, 0 to 1.
    Reading: the mean is the share of predictions that the head decides, whatever the target.
    Source: our own.
    """
    changed = outputs.model.argmax(-1) != outputs.ablated_model.argmax(-1)
    return changed.to(outputs.model.dtype)


@importance_metric(
    long_name="Ranks that the target falls", units="ranks", applies=_has_classes, signed=True
)
def rank_change(outputs: Outputs) -> Float[Tensor, "head image"]:
    """r′ − r, with r the number of classes that are likelier than the target, and r′ the same
    without the head.

    Range: −(classes − 1) to classes − 1.
    Reading: positive: the target falls behind.
    Source: our own.
    """
    return outputs.rank(outputs.ablated_model, outputs.target) - outputs.rank(
        outputs.model, outputs.target
    )


@importance_metric(
    long_name="Target leaves the first five", units="share", applies=_has_more_than_top
)
def top5_lost(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 where the target is among the five likeliest classes and is not without the head, else 0.

    Range: 0 or 1 for an image; the mean over images, 0 to 1.
    Reading: the mean is the share of images whose target the head keeps among the first five. Only
    for models with more than five classes.
    Source: our own.
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
    be, else 0.

    Range: −1, 0 or 1 for an image; the mean over images, −1 to 1.
    Reading: the mean over images is the drop of top-1 accuracy. NaN for images without a label.
    Source: after Michel et al., "Are Sixteen Heads Really Better than One?" (2019), who measure the
    task's score without each head.
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
    it comes to be, else 0.

    Range: −1, 0 or 1 for an image; the mean over images, −1 to 1.
    Reading: the mean over images is the drop of top-5 accuracy. NaN for images without a label;
    only for models with more than five classes.
    Source: as for top-1 accuracy: after Michel et al. (2019).
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
    """1 − cos(f, f′), with f and f′ the model's output features with and without the head.

    Range: 0 (same direction) to 2 (opposite).
    Reading: larger: the head turns what the model puts out. For models without classes.
    Source: our own.
    """
    # From the difference of unit vectors: 1 − a·b would lose a small change in rounding.
    before, after = (
        torch.nn.functional.normalize(features, dim=-1)
        for features in (outputs.model, outputs.ablated_model)
    )
    return (before - after).square().sum(-1) / 2
