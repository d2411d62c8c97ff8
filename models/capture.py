"""The one way attention is read."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from .checkpoint import Checkpoint, Images
from .interception import AttentionCall, intercept
from .layers import LayerAttention

__all__ = ["LayerAttention", "capture", "watch"]


def watch(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel height width"],
    on_layer: Callable[[LayerAttention], None],
) -> Float[Tensor, "image output"]:
    """Run a batch and show each layer's attention to `on_layer` as it passes.

    Nothing of a layer is kept once `on_layer` has returned, so memory holds one layer's maps.
    Returns the model's output, equal to the bit to that of an unwatched run.
    """
    checkpoint.check_batch(batch)
    begun: dict[int, list[AttentionCall]] = {}
    seen = 0

    def on_call(call: AttentionCall) -> None:
        nonlocal seen
        index = checkpoint.layer_of.get(call.site)
        if index is None:
            return
        layer = checkpoint.layers[index]
        calls = begun.setdefault(index, [])
        calls.append(call)
        if len(calls) == len(layer.sites):
            seen += 1
            on_layer(LayerAttention(layer, begun.pop(index), layouts.get(index)))

    with checkpoint.lock, torch.inference_mode():
        layouts = checkpoint.routed_layouts(batch)
        with intercept(checkpoint.model, on_call):
            output = checkpoint.readout(checkpoint.model(batch))
    if seen != checkpoint.n_layers:
        raise RuntimeError(f"{seen} of {checkpoint.n_layers} layers were captured")
    return output


def capture(
    checkpoint: Checkpoint,
    images: Images,
) -> Iterator[LayerAttention]:
    """The attention of every layer, for images of any source or a batch ready for the model.

    The forward pass is over when the first layer comes. Weights of a fused attention are computed
    when a layer's `weights` are first asked for, so memory holds queries, keys and values of all
    layers, and the maps of those layers that the caller keeps.
    """
    layers: list[LayerAttention | None] = []
    watch(checkpoint, checkpoint.batch(images), layers.append)
    for index, layer in enumerate(layers):
        layers[index] = None  # the caller's reference is the only one
        assert layer is not None
        yield layer
