"""What a number of the output owes to each attention weight: one forward and one backward pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .batch_norm import sound_batch_norm
from .checkpoint import Checkpoint
from .interception import AttentionCall, intercept, without_fast_path
from .layers import LayerAttention

Score = Callable[[Float[Tensor, "image output"]], Float[Tensor, " image"]]
"""A differentiable number for each image from the model's output."""


@dataclass(frozen=True, eq=False)
class LayerGradient:
    """One layer's attention, and the derivative of each image's score by it.

    Both have the form of attention, so that windows and tokens are found alike: where `attention`
    has a weight or head output, `gradient` has the derivative by it. Heads that are mixed after the
    softmax are here as they meet the values (`mixed_weights`).
    """

    attention: LayerAttention
    gradient: LayerAttention

    @property
    def layer(self) -> int:
        """Index of the layer."""
        return self.attention.layer


@dataclass(frozen=True, eq=False)
class AttentionGradients:
    """The score of each image, and what it owes to the attention of each layer."""

    output: Float[Tensor, "image output"]
    score: Float[Tensor, " image"]
    layers: tuple[LayerGradient, ...]


def attention_gradients(
    checkpoint: Checkpoint, batch: Float[Tensor, "image channel row column"], score: Score
) -> AttentionGradients:
    """The derivative of a score by attention weights A and head outputs A v, layer by layer.

    Total derivatives: through all that follows, later softmaxes included. Weights of the model are
    given no gradient. A layer that the score does not depend on has derivative 0.

    Memory: the maps of all layers of the batch, twice, beside what a training step keeps.

    Raises:
        HeadscopeError: a batch that is no input of the checkpoint.
    """
    checkpoint.check_batch(batch)
    seen: dict[int, list[AttentionCall]] = {}
    products: dict[int, list[Tensor]] = {}

    def on_call(call: AttentionCall) -> Tensor | None:
        index = checkpoint.layer_of.get(call.site)
        if index is None:
            return None
        if not call.weights.requires_grad:  # nothing before it asks for a gradient
            vars(call)["weights"] = call.weights.detach().requires_grad_()
        product = call.weights.to(call.value.dtype) @ call.value
        seen.setdefault(index, []).append(call)
        products.setdefault(index, []).append(product)
        return product

    # A caller may be in inference mode, whose tensors cannot take part in a backward pass.
    with checkpoint.lock, torch.inference_mode(mode=False), without_fast_path():
        batch = batch.clone()
        with torch.no_grad():
            layouts = checkpoint.routed_layouts(batch)
        with torch.enable_grad(), sound_batch_norm(), intercept(checkpoint.model, on_call):
            output = checkpoint.readout(checkpoint.model(batch))
            scores = score(output)
        order = sorted(seen)
        weights = [call.weights for index in order for call in seen[index]]
        outputs = [product for index in order for product in products[index]]
        slopes = torch.autograd.grad(scores.sum(), [*weights, *outputs], allow_unused=True)
    # Contiguous tensors keep their memory order, whatever the backward pass made.
    found = [
        torch.zeros_like(of) if slope is None else slope
        for slope, of in zip(slopes, [*weights, *outputs], strict=True)
    ]
    by_weight, by_output = iter(found[: len(weights)]), iter(found[len(weights) :])
    layers = []
    for index in order:
        of, routed = checkpoint.layers[index], layouts.get(index)
        attention = [
            _call(call, call.weights.detach(), product.detach())
            for call, product in zip(seen[index], products[index], strict=True)
        ]
        gradient = [_call(call, next(by_weight), next(by_output)) for call in seen[index]]
        layers.append(
            LayerGradient(
                LayerAttention(of, attention, routed), LayerAttention(of, gradient, routed)
            )
        )
    return AttentionGradients(output.detach(), scores.detach(), tuple(layers))


def _call(call: AttentionCall, weights: Tensor, output: Tensor) -> AttentionCall:
    """A call with other numbers."""
    return AttentionCall(
        call.site,
        call.value.detach(),
        output=lambda: output,
        weights=lambda: weights,
        unmixed=None if call.unmixed is None else lambda: weights,
    )
