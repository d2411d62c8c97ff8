"""All heads at once from one backward pass: an estimate of what leaving each out would change.

Every head's output is multiplied by a mask m, which is 1. The derivative of a value v of the output
with respect to the mask is the first-order estimate of the drop,

    v(m) − v(m without h)  ≈  ∂v/∂m_h ,

exact where v is linear in the head. Michel et al., "Are Sixteen Heads Really Better than One?"
(2019), take |∂L/∂ξ| of the loss, averaged over images; Molchanov et al., "Importance Estimation for
Neural Network Pruning" (2019), its square. We keep the sign and the image: what speaks against the
target is told from what speaks for it, and a mean is a view.

A head whose work others would take over, or one deep in a saturated softmax, is misjudged at a
single point. With steps, the derivative is averaged on the way from no heads to all,

    ∫₀¹ ∂v/∂m_h (α·1) dα ,

integrated gradients over the head mask (Sundararajan et al., 2017), by Gauss–Legendre quadrature:
its points lie close at the ends, and where norms make much of little, v turns sharply near α = 0.
These sum to v(all) − v(none); what is missing from that is the residual.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import kendalltau, spearmanr
from torch import Tensor

from ...models.batch_norm import sound_batch_norm
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.interception import AttentionCall, intercept

Value = Callable[[Float[Tensor, "image output"]], Float[Tensor, " image"]]
"""A differentiable number for each image from the model's output."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """What leaving out each head would change, as estimated from gradients."""

    scores: Float[np.ndarray, "image layer head"]
    """Estimated drop of the value, in its units; positive: the head speaks for it. NaN where a
    layer lacks the head."""
    objective: str
    """What dropped: `"probability"`, `"logit"`, `"feature_norm"`, `"feature_cosine"`, or the name
    of the caller's function."""
    steps: int
    """Points of the integral; 0: the derivative at the whole model."""
    value: Float[np.ndarray, " image"]
    """v(all): the value of the whole model."""
    residual: Float[np.ndarray, " image"]
    """v(all) − v(none) − Σ scores: what the steps of the integral leave over. NaN without steps,
    where scores need not sum to anything."""


@dataclass(frozen=True, eq=False)
class Check:
    """How an estimate ranks heads beside exact scores of the same images."""

    spearman: Float[np.ndarray, " image"]
    """Spearman's ρ over all heads, image by image."""
    kendall: Float[np.ndarray, " image"]
    """Kendall's τ-b over all heads, image by image."""
    spearman_of_means: float
    """Spearman's ρ of the scores averaged over these images."""
    kendall_of_means: float
    largest_difference: float
    """Of any score, in the units of the value."""

    def describe(self) -> str:
        """One line for people."""
        return (
            f"rank correlation with the exact scores of {len(self.spearman)} image(s): Spearman "
            f"{self.spearman_of_means:.3f} (median of images {np.median(self.spearman):.3f}), "
            f"Kendall {self.kendall_of_means:.3f} ({np.median(self.kendall):.3f})"
        )


def estimate_importance(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image 3 row column"],
    target: int | str | Int[Tensor, " image"] | None = None,
    *,
    objective: str | Value | None = None,
    steps: int = 0,
) -> Estimate:
    """Estimate the importance of every head by one backward pass, or by `steps` of them.

    Time: about that of three forward passes for each step (of one without steps), whatever the
    number of heads. Memory: what a training step of this batch takes, without the weights' part.

    Args:
        checkpoint: stays as it is: no weight gets a gradient, no hook is left behind.
        batch: ready for the model.
        target: class, or one for each image; None: each image's own prediction.
        objective: `"probability"` or `"logit"` of the target (probability by default);
            `"feature_norm"`, ‖f‖ (by default without classes), or `"feature_cosine"`, the cosine
            of f with the whole model's f, which needs steps; or a function of the output.
        steps: 0 for the first order, otherwise points of the integral.

    Raises:
        HeadscopeError: a batch, target, objective or number of steps that cannot be had.
    """
    checkpoint.check_batch(batch)
    if steps < 0:
        raise HeadscopeError(f"{steps} steps cannot be taken; expected 0 or more.")
    # A caller may be in inference mode, whose tensors cannot take part in a backward pass.
    with checkpoint.lock, torch.inference_mode(mode=False), torch.no_grad():
        batch = batch.clone()
        clean = checkpoint.readout(checkpoint.model(batch))
        name, value = _value(checkpoint, clean, target, objective, steps)
        whole = value(clean)
        if steps == 0:
            scores, residual = _derivative(checkpoint, batch, value, 1.0), whole * torch.nan
        else:
            scores = torch.zeros(len(batch), checkpoint.n_layers, max(checkpoint.n_heads)).double()
            for point, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
                # From [−1, 1] to [0, 1].
                scores += _derivative(checkpoint, batch, value, (point + 1) / 2) * (weight / 2)
            none = _masked_value(checkpoint, batch, value, _masks(checkpoint, batch, 0.0))
            residual = whole - none - scores.nansum((1, 2)).to(whole.device)
    return Estimate(scores.numpy(), name, steps, whole.cpu().numpy(), residual.cpu().numpy())


def check(
    estimate: Estimate,
    exact: Float[np.ndarray, "sample layer head"],
    images: Sequence[int] | None = None,
) -> Check:
    """Compare an estimate with exact scores, of all its images or of the sample `images`.

    Raises:
        HeadscopeError: shapes that do not fit, or scores without a rank as all are equal.
    """
    estimated = estimate.scores if images is None else estimate.scores[list(images)]
    if estimated.shape != exact.shape:
        raise HeadscopeError(
            f"Exact scores are of (image, layer, head) {exact.shape}, the estimate's of "
            f"{estimated.shape}; name the images of a sample, and use the same checkpoint."
        )
    there = ~np.isnan(exact[0])
    pairs = [(a[there], b[there]) for a, b in zip(estimated, exact, strict=True)]
    pairs.append((estimated.mean(0)[there], exact.mean(0)[there]))
    if any(np.ptp(scores) == 0 for pair in pairs for scores in pair):
        raise HeadscopeError("All heads have the same score in some image: there is no rank.")
    # Indexed, as both come as tuples of (statistic, p-value).
    spearman = np.array([spearmanr(a, b)[0] for a, b in pairs])
    kendall = np.array([kendalltau(a, b)[0] for a, b in pairs])
    return Check(
        spearman[:-1],
        kendall[:-1],
        float(spearman[-1]),
        float(kendall[-1]),
        float(np.nanmax(np.abs(estimated - exact))),
    )


def _masks(checkpoint: Checkpoint, batch: Tensor, share: float) -> list[Tensor]:
    """For each layer, `image head`."""
    return [batch.new_full((len(batch), n_heads), share) for n_heads in checkpoint.n_heads]


def _derivative(
    checkpoint: Checkpoint, batch: Tensor, value: Value, share: float
) -> Float[Tensor, "image layer head"]:
    masks = [mask.requires_grad_() for mask in _masks(checkpoint, batch, share)]
    with torch.enable_grad(), sound_batch_norm():
        total = _masked_value(checkpoint, batch, value, masks).sum()
        # Of the masks alone: nothing else is given a gradient, whatever requires one.
        slopes = torch.autograd.grad(total, masks, allow_unused=True)
    scores = torch.full((len(batch), len(masks), max(checkpoint.n_heads)), torch.nan).double()
    for layer, (slope, mask) in enumerate(zip(slopes, masks, strict=True)):
        scores[:, layer, : mask.shape[1]] = 0 if slope is None else slope.cpu()
    return scores


def _masked_value(
    checkpoint: Checkpoint, batch: Tensor, value: Value, masks: Sequence[Tensor]
) -> Float[Tensor, " image"]:
    """v of the model whose heads are multiplied by masks."""

    def on_call(call: AttentionCall) -> Tensor | None:
        index = checkpoint.layer_of.get(call.site)
        if index is None:
            return None
        layer, mask = checkpoint.layers[index], masks[index][:, None, :, None, None]
        folded = layer.axes.fold(call.output) * mask[:, :, layer.heads_of(call.site)]
        return layer.axes.unfold(folded)

    with intercept(checkpoint.model, on_call):
        return value(checkpoint.readout(checkpoint.model(batch)))


def _value(
    checkpoint: Checkpoint,
    clean: Tensor,
    target: int | str | Tensor | None,
    objective: str | Value | None,
    steps: int,
) -> tuple[str, Value]:
    """An objective's name, and its value for each image, in float64."""
    if objective is None:
        objective = "probability" if checkpoint.has_classes else "feature_norm"
    if not isinstance(objective, str):
        return getattr(objective, "__name__", "custom"), objective
    if objective in ("probability", "logit"):
        if not checkpoint.has_classes:
            raise HeadscopeError(
                f"{checkpoint.name} has no classes, so no {objective}; take 'feature_norm' or "
                "'feature_cosine'."
            )
        index = _target(checkpoint, clean, target)[:, None]
        probability = objective == "probability"

        def of_target(output: Tensor) -> Tensor:
            output = output.double()
            return (output.softmax(-1) if probability else output).gather(-1, index)[:, 0]

        return objective, of_target
    if objective == "feature_norm":
        return objective, lambda output: output.double().norm(dim=-1)
    if objective == "feature_cosine":
        if steps == 0:
            raise HeadscopeError(
                "The cosine with the whole model's features is at its maximum there, so its "
                "derivative is 0 for all heads; take steps, such as 8, or 'feature_norm'."
            )
        whole = clean.double()
        return objective, lambda output: torch.cosine_similarity(output.double(), whole, dim=-1)
    raise HeadscopeError(
        f"There is no objective {objective!r}; there are: feature_cosine, feature_norm, logit, "
        "probability, or a function of the model's output."
    )


def _target(checkpoint: Checkpoint, clean: Tensor, target: int | str | Tensor | None) -> Tensor:
    """Class index of each image."""
    if target is None:
        return clean.argmax(-1)
    if not isinstance(target, Tensor):
        return clean.new_full((len(clean),), checkpoint.class_index(target), dtype=torch.long)
    n_classes = len(checkpoint.labels)
    wrong = target.shape != (len(clean),) or target.is_floating_point()
    if wrong or not ((target >= 0) & (target < n_classes)).all():
        raise HeadscopeError(
            f"The target {target.tolist()} is not one class for each of {len(clean)} images; "
            f"expected indices 0 to {n_classes - 1}."
        )
    return target.to(clean.device).long()
