"""The one way attention is read."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from .checkpoint import Checkpoint, Images
from .interception import AttentionCall, intercept
from .layout import TokenLayout


class LayerAttention:
    """Attention of one layer for a batch of images."""

    def __init__(self, layer: int, layout: TokenLayout, call: AttentionCall) -> None:
        self.layer = layer
        self.layout = layout
        self.module = call.site.module
        self._call = call

    @property
    def weights(self) -> Float[Tensor, "image head query key"]:
        """Attention maps after softmax; rows sum to 1 over keys."""
        return self._call.weights

    @property
    def value(self) -> Float[Tensor, "image head key channel"]:
        return self._call.value

    @property
    def head_output(self) -> Float[Tensor, "image head query channel"]:
        """`weights @ value` as the model itself computed it, before the output projection."""
        return self._call.output


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
    seen = 0

    def on_call(call: AttentionCall) -> None:
        nonlocal seen
        layer = checkpoint.layer_of.get(call.site)
        if layer is not None:
            seen += 1
            on_layer(LayerAttention(layer, checkpoint.layout, call))

    with checkpoint.lock, torch.inference_mode(), intercept(checkpoint.model, on_call):
        output = checkpoint.model(batch)
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
