"""A forward pass that is taken up again from any layer, with other head outputs.

Everything before layer l is the same for all ablations at l, so the input of each block is kept
and the rest runs from there: about half the work of whole forward passes. Where the output reads
prefix tokens only, the last block is computed for those rows alone.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .capture import LayerAttention, watch
from .checkpoint import Checkpoint
from .interception import AttentionCall, intercept


@dataclass
class _BlockRun:
    """What a block was given and what it made of it."""

    input: Tensor
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor


class Replay:
    """One clean forward pass, kept so that it can go on from any layer.

    Memory: two hidden states a block and the head outputs of every layer, for the whole batch.
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
        self._blocks = checkpoint.family.blocks(checkpoint.model)
        self._names = _names(checkpoint.model, self._blocks)
        self._rows = checkpoint.family.rows_read(checkpoint.model)
        self._block_of = _block_of_layers(checkpoint, self._names)
        self._heads: dict[int, Tensor] = {}

        def keep(layer: LayerAttention) -> None:
            self._heads[layer.layer] = layer.head_output
            if on_layer is not None:
                on_layer(layer)

        with checkpoint.lock, _record(self._blocks) as self._runs:
            self.output: Float[Tensor, "image output"] = watch(checkpoint, batch, keep)

    def heads(self, layer: int) -> Float[Tensor, "image head query channel"]:
        """The head outputs of a layer, as the clean pass had them."""
        return self._heads[layer]

    def layer_output(self, layer: int) -> Float[Tensor, "image row channel"]:
        """What the layer's block gave in the clean pass, in the rows that `resume` gives."""
        block = self._block_of[layer]
        return self._runs[block].output[:, self._rows_of(block)]

    def resume(
        self, layer: int, heads: Float[Tensor, "variant image head query channel"]
    ) -> tuple[Float[Tensor, "variant image row channel"], Float[Tensor, "variant image output"]]:
        """Go on from a layer with other head outputs: the layer's output and the model's.

        Rows are all tokens, but in the last block only those that the model's output reads.
        """
        n_variants, block = len(heads), self._block_of[layer]
        with self.checkpoint.lock, torch.inference_mode():
            hidden = self._block_with(block, layer, heads.flatten(0, 1))
            layer_output = hidden
            for later in range(block + 1, len(self._blocks)):
                hidden = self._block(later, hidden)
            output = self.checkpoint.family.tail(self.checkpoint.model, hidden)
        unflatten = (n_variants, self.n_images)
        return layer_output.unflatten(0, unflatten), output.unflatten(0, unflatten)

    def _rows_of(self, block: int) -> slice:
        return self._rows if block == len(self._blocks) - 1 else slice(None)

    def _block_with(self, block: int, layer: int, heads: Tensor) -> Tensor:
        """A block's output with the head outputs of one of its layers replaced."""
        module, run, rows = self._blocks[block], self._runs[block], self._rows_of(block)
        repeats = (len(heads) // self.n_images, *[1] * (run.input.dim() - 1))
        hidden = run.input.repeat(repeats)
        short = self.checkpoint.family.block_from_heads(module, hidden[:, rows], heads[:, :, rows])
        if short is not None:
            return short

        def on_call(call: AttentionCall) -> Tensor | None:
            return heads if self.checkpoint.layer_of.get(call.site) == layer else None

        # The block runs inside the model's hooks no more: sites are named from the block's name.
        with intercept(module, on_call, name=self._names[block]):
            return module(hidden, *run.arguments, **run.options)[:, rows]

    def _block(self, block: int, hidden: Tensor) -> Tensor:
        module, run, rows = self._blocks[block], self._runs[block], self._rows_of(block)
        if rows != slice(None):
            short = self.checkpoint.family.block_rows(module, hidden, rows)
            if short is not None:
                return short
        return module(hidden, *run.arguments, **run.options)[:, rows]


def _names(model: nn.Module, blocks: Any) -> list[str]:
    name_of = {id(module): name for name, module in model.named_modules()}
    return [name_of[id(block)] for block in blocks]


def _block_of_layers(checkpoint: Checkpoint, names: list[str]) -> list[int]:
    """The index of the block that holds each layer."""
    return [
        next(
            index
            for index, name in enumerate(names)
            if site.module == name or site.module.startswith(f"{name}.")
        )
        for site, _ in sorted(checkpoint.layer_of.items(), key=lambda item: item[1])
    ]


@contextmanager
def _record(blocks: Any) -> Iterator[list[_BlockRun]]:
    runs: list[_BlockRun] = []

    def keep(_block: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        runs.append(_BlockRun(args[0], args[1:], kwargs, output))

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(keep, with_kwargs=True).remove)
        yield runs
