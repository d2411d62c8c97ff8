"""A forward pass that is taken up again from any layer, with other head outputs.

Everything before layer l is the same for all ablations at l: what modules gave before it is kept,
and only the rest runs again, about half the work of whole forward passes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .capture import LayerAttention, watch
from .checkpoint import Checkpoint
from .column import Column
from .layout import TokenLayout
from .precision import Linears
from .skipping import Skipping


class Replay:
    """One clean forward pass, kept so that it can go on from any layer.

    Memory: the head outputs of every layer and what the model made before each of them, for the
    whole batch. The output differs from `checkpoint.run` by rounding (`precision`).
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        batch: Float[Tensor, "image channel height width"],
        on_layer: Callable[[LayerAttention], None] | None = None,
    ) -> None:
        """Run the batch once; `on_layer` sees each layer's attention as it passes."""
        self.checkpoint = checkpoint
        self.n_images = len(batch)
        self._layers: dict[int, LayerAttention] = {}
        self._linears = Linears(checkpoint.loaded_with.get("precision", "float32"))
        if Column.fits(checkpoint):
            self._pass: Column | Skipping = Column(checkpoint, len(batch))
        else:
            self._pass = Skipping(checkpoint, batch)

        def keep(layer: LayerAttention) -> None:
            self._layers[layer.layer] = layer
            if on_layer is not None:
                on_layer(layer)
                layer.forget_maps()

        with checkpoint.lock, self._pass.record(), self._linears.clean_pass():
            self.output: Float[Tensor, "image output"] = watch(checkpoint, batch, keep)

    def heads(self, layer: int) -> Float[Tensor, "image head query channel"]:
        """The head outputs of a layer, as the clean pass had them."""
        return self._layers[layer].head_output

    def attention(self, layer: int) -> LayerAttention:
        """A layer's attention in the clean pass: weights, values and head outputs."""
        return self._layers[layer]

    def layer_output(self, layer: int) -> Float[Tensor, "image row channel"]:
        """What the layer's block gave in the clean pass, in the rows that `resume` gives."""
        return self._pass.layer_output(layer)

    def hidden(self, layer: int) -> Float[Tensor, "image token channel"] | None:
        """What the layer's block gave in the clean pass, by the tokens of `Layer.rows`; None where
        it gave no tokens."""
        rows = self.checkpoint.layers[layer].rows
        return None if rows is None else self._pass.hidden(layer)

    def rows(self, layer: int) -> TokenLayout:
        """What the rows of `layer_output` are; there may be fewer than it says, never others."""
        return self._pass.rows(layer)

    def resume(
        self, layer: int, heads: Float[Tensor, "variant image head query channel"]
    ) -> tuple[Float[Tensor, "variant image row channel"], Float[Tensor, "variant image output"]]:
        """Go on from a layer with other head outputs: the layer's output and the model's.

        Rows are tokens; in a model of one column, the last block has only those that the model's
        output reads.
        """
        unflatten = (len(heads), self.n_images)
        with self.checkpoint.lock, torch.inference_mode(), self._linears:
            layer_output, output = self._pass.resume(layer, heads, self.heads(layer))
        return layer_output.unflatten(0, unflatten), output.unflatten(0, unflatten)
