"""Going on from a layer of a column of blocks: ViT and its kin.

The input of each block is kept. Where the output reads prefix tokens only, the last block is
computed for those rows alone; where a block is timm's own, its attention is not computed again.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from .checkpoint import Checkpoint
from .interception import AttentionCall, intercept
from .layers import Layer
from .layout import TokenLayout


@dataclass
class _BlockRun:
    """What a block was given and what it made of it."""

    input: Tensor
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor


class Column:
    """The clean pass of a column of blocks.

    Memory: two hidden states a block, for the whole batch.
    """

    def __init__(self, checkpoint: Checkpoint, n_images: int) -> None:
        self._checkpoint = checkpoint
        self._n_images = n_images
        self._blocks = checkpoint.family.blocks(checkpoint.model) or ()
        self._names = _names(checkpoint.model, self._blocks)
        self._rows = checkpoint.family.rows_read(checkpoint.model)
        self._block_of = [_holder(layer, self._names) for layer in checkpoint.layers]
        self._runs: list[_BlockRun] = []
        self._pooled: dict[int, Tensor] = {}
        """What layers after the column gave."""

    @staticmethod
    def fits(checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is a column: after it, at most its pooling attends."""
        names = _names(checkpoint.model, checkpoint.family.blocks(checkpoint.model) or ())
        holders = [_holder(layer, names) for layer in checkpoint.layers]
        return holders[0] is not None and None not in holders[: len(names)]

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep what the forward pass in this context does."""
        with _record(self._blocks, self._runs), ExitStack() as stack:
            for layer in self._checkpoint.layers:
                if self._block_of[layer.index] is None:
                    stack.enter_context(self._see(layer, self._pooled))
            yield

    @contextmanager
    def _see(self, layer: Layer, seen: dict[int, Tensor]) -> Iterator[None]:
        def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
            seen[layer.index] = output.flatten(1).unsqueeze(1)

        handle = self._checkpoint.model.get_submodule(layer.block).register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def layer_output(self, layer: int) -> Float[Tensor, "image row channel"]:
        """What the layer's block gave, in the rows that `resume` gives."""
        block = self._block_of[layer]
        if block is None:
            return self._pooled[layer]
        return self._runs[block].output[:, self._rows_of(block)]

    def hidden(self, layer: int) -> Float[Tensor, "image token channel"]:
        """What the layer's block gave, by token; those of the last block too that are not read."""
        block, rows = self._block_of[layer], self._checkpoint.layers[layer].rows
        if block is None or rows is None:
            raise ValueError(f"what layer {layer} gives are no tokens")
        return rows.take(self._runs[block].output)

    def rows(self, layer: int) -> TokenLayout:
        """What the rows of `layer_output` are; the last block has only those that are read."""
        return self._checkpoint.layers[layer].layout.queries

    def resume(
        self,
        layer: int,
        heads: Float[Tensor, "variant image head query channel"],
        clean: Float[Tensor, "image head query channel"],
    ) -> tuple[Float[Tensor, "variant-image row channel"], Float[Tensor, "variant-image output"]]:
        """The layer's output and the model's, for other head outputs than the clean ones."""
        del clean  # blocks compute their heads at once
        block = self._block_of[layer]
        if block is None:
            return self._pool(layer, heads)
        hidden = self._block_with(block, layer, heads.flatten(0, 1))
        layer_output = hidden
        for later in range(block + 1, len(self._blocks)):
            hidden = self._block(later, hidden)
        return layer_output, self._checkpoint.family.tail(self._checkpoint.model, hidden)

    def _pool(self, layer: int, heads: Tensor) -> tuple[Tensor, Tensor]:
        """What comes after the column, with other head outputs in its own attention."""
        of, seen = self._checkpoint.layers[layer], dict[int, Tensor]()
        flat = heads.flatten(0, 1)

        def on_call(call: AttentionCall) -> Tensor | None:
            return of.raw_output(call.site, flat) if call.site in of.sites else None

        hidden = self._runs[-1].output[:, self._rows]
        hidden = hidden.repeat(len(heads), *[1] * (hidden.dim() - 1))
        with self._see(of, seen), intercept(self._checkpoint.model, on_call):
            output = self._checkpoint.family.tail(self._checkpoint.model, hidden)
        return seen[layer], output

    def _rows_of(self, block: int) -> slice:
        return self._rows if block == len(self._blocks) - 1 else slice(None)

    def _block_with(self, block: int, layer: int, heads: Tensor) -> Tensor:
        """A block's output with the head outputs of one of its layers replaced."""
        module, run, rows = self._blocks[block], self._runs[block], self._rows_of(block)
        repeats = (len(heads) // self._n_images, *[1] * (run.input.dim() - 1))
        hidden = run.input.repeat(repeats)
        short = self._checkpoint.family.block_from_heads(module, hidden[:, rows], heads[:, :, rows])
        if short is not None:
            return short

        of = self._checkpoint.layers[layer]

        def on_call(call: AttentionCall) -> Tensor | None:
            return of.raw_output(call.site, heads) if call.site in of.sites else None

        # The block runs inside the model's hooks no more: sites are named from the block's name.
        with intercept(module, on_call, name=self._names[block]):
            return module(hidden, *run.arguments, **run.options)[:, rows]

    def _block(self, block: int, hidden: Tensor) -> Tensor:
        module, run, rows = self._blocks[block], self._runs[block], self._rows_of(block)
        if rows != slice(None):
            short = self._checkpoint.family.block_rows(module, hidden, rows)
            if short is not None:
                return short
        return module(hidden, *run.arguments, **run.options)[:, rows]


def _names(model: nn.Module, blocks: Any) -> list[str]:
    name_of = {id(module): name for name, module in model.named_modules()}
    return [name_of[id(block)] for block in blocks]


def _holder(layer: Layer, names: list[str]) -> int | None:
    """The block of a column that a layer is in."""
    return next((i for i, name in enumerate(names) if layer.module.startswith(f"{name}.")), None)


@contextmanager
def _record(blocks: Any, runs: list[_BlockRun]) -> Iterator[None]:
    def keep(_block: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        runs.append(_BlockRun(args[0], args[1:], kwargs, output))

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(keep, with_kwargs=True).remove)
        yield
