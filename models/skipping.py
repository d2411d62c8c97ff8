"""Going on from a layer of any model: what ran before it is not run again.

The model's own forward runs, but each module that was done before the layer gives at once what it
gave in the clean pass. So nothing need be known of how the parts of a model hang together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .checkpoint import Checkpoint
from .interception import AttentionCall, Site, intercept
from .layers import Layer
from .layout import TokenLayout


@dataclass(frozen=True)
class _Done:
    """What a module gave, and how many calls of layers there had been by then."""

    output: Any
    at: int


class Skipping:
    """The clean pass of a model of any build.

    Memory: each block's output, and what the modules in it gave before its last attention.
    """

    def __init__(
        self, checkpoint: Checkpoint, batch: Float[Tensor, "image channel height width"]
    ) -> None:
        self._checkpoint = checkpoint
        self._batch = batch
        self._layouts = checkpoint.routed_layouts(batch)
        self._modules = dict(checkpoint.model.named_modules())
        self._attention = {layer.module for layer in checkpoint.layers}
        self._mixed = {layer.module for layer in checkpoint.layers if layer.mixed}
        self._around = _around(layer.module for layer in checkpoint.layers)
        self._kept = [name for name in self._modules if name and self._may_skip(name)]
        self._done: dict[str, list[_Done]] = {name: [] for name in self._kept}
        self._starts: dict[int, int] = {}
        """Of each layer, the number of calls before its first."""
        self._rows: dict[int, Tensor] = {}

    def _may_skip(self, name: str) -> bool:
        """Whether a module can stand for itself: blocks, and the parts beside attention.

        Of an attention's own parts only what has weights, and nothing where heads are mixed: the
        way from the softmax to the values must be walked, or the attention is not seen.
        """
        parent = name.rpartition(".")[0]
        if None in self._checkpoint.image_axes.get(name, (None,)):
            return False  # made of parameters: cheap, and of another shape for another batch
        if name in self._around:
            return True
        if parent in self._attention:
            return parent not in self._mixed and any(True for _ in self._modules[name].parameters())
        return parent in {"", *self._around}

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep what the forward pass in this context does."""
        n_calls = 0
        children = _children(self._kept)

        def on_call(call: AttentionCall) -> None:
            nonlocal n_calls
            layer = self._checkpoint.layer_of.get(call.site)
            if layer is not None:
                self._starts.setdefault(layer, n_calls)
                n_calls += 1

        def keep(name: str) -> Callable[..., None]:
            layers = [layer for layer in self._checkpoint.layers if layer.block == name]

            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                self._done[name].append(_Done(output, n_calls))
                for layer in layers:
                    if layer.index in self._starts and layer.index not in self._rows:
                        self._rows[layer.index] = _rows(layer, output, len(self._batch))
                # What it did after its last attention is done again whenever any of it is.
                for child in children.get(name, ()):
                    while self._done[child] and self._done[child][-1].at == n_calls:
                        self._done[child].pop()

            return hook

        with ExitStack() as stack:
            for name in self._kept:
                stack.callback(self._modules[name].register_forward_hook(keep(name)).remove)
            stack.enter_context(intercept(self._checkpoint.model, on_call))
            yield

    def layer_output(self, layer: int) -> Float[Tensor, "image row channel"]:
        """What the layer's block gave, by token."""
        return self._rows[layer]

    def hidden(self, layer: int) -> Float[Tensor, "image token channel"]:
        """The same: all tokens are kept."""
        return self._rows[layer]

    def rows(self, layer: int) -> TokenLayout:
        """What the rows of `layer_output` are."""
        rows = self._checkpoint.layers[layer].rows
        return TokenLayout(("block",), (0, 0), (1, 1)) if rows is None else rows.layout

    def resume(
        self,
        layer: int,
        heads: Float[Tensor, "variant image head query channel"],
        clean: Float[Tensor, "image head query channel"],
    ) -> tuple[Float[Tensor, "variant-image row channel"], Float[Tensor, "variant-image output"]]:
        """The layer's output and the model's, for other head outputs than the clean ones."""
        of, n_variants = self._checkpoint.layers[layer], len(heads)
        skipped = {
            name: n
            for name, done in self._done.items()
            if (n := sum(one.at <= self._starts[layer] for one in done))
        }
        flat = heads.flatten(0, 1)
        layouts = self._layouts.get(layer)
        layouts = None if layouts is None else layouts * n_variants
        first = of.n_calls * skipped.get(of.module, 0)
        block_runs: list[Any] = []

        def on_call(call: AttentionCall) -> Tensor | None:
            # Of a module that runs several times, the skipped runs are not counted.
            site = Site(call.site.module, call.site.call + first)
            if site not in of.sites:
                return None
            if len(of.sites) == 1:
                return of.raw_output(site, flat, layouts)
            # Heads one after the other, each from what the ones before it gave: those that nobody
            # changed follow the change.
            own = of.heads_of(site)
            same = (heads[:, :, own] == clean[:, own]).flatten(2).all(-1).flatten()
            given = of.axes.fold(of.raw_output(site, flat, layouts))
            return of.axes.unfold(
                torch.where(same[:, None, None, None, None], of.axes.fold(call.output), given)
            )

        def see_block(_module: nn.Module, _args: Any, output: Any) -> None:
            block_runs.append(output)

        with ExitStack() as stack:
            for name, n in skipped.items():
                stack.enter_context(self._giving(name, n, n_variants))
            stack.callback(self._modules[of.block].register_forward_hook(see_block).remove)
            stack.enter_context(intercept(self._checkpoint.model, on_call))
            output = self._checkpoint.model(self._batch.repeat(n_variants, 1, 1, 1))
        block = block_runs[skipped.get(of.block, 0)]
        return _rows(of, block, len(flat)), self._checkpoint.readout(output)

    @contextmanager
    def _giving(self, name: str, n: int, n_variants: int) -> Iterator[None]:
        """A module whose first `n` runs give what they gave, for each variant."""
        module, done = self._modules[name], iter(self._done[name][:n])
        forward = module.forward

        def give(*args: Any, **kwargs: Any) -> Any:
            one = next(done, None)
            if one is None:
                return forward(*args, **kwargs)
            return _repeat(one.output, n_variants, self._checkpoint.image_axes[name])

        module.forward = give
        try:
            yield
        finally:
            del module.forward  # the class's own again


def _repeat(output: Any, times: int, image_axes: Iterable[int | None]) -> Any:
    """A module's output for several variants, the images of each beside one another."""
    axes = iter(image_axes)

    def repeat(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        axis = next(axes)
        assert axis is not None, "what does not follow the image is not skipped"
        return torch.cat([leaf] * times, dim=axis)

    return tree_map(repeat, output)


def _rows(layer: Layer, output: Any, n_images: int) -> Float[Tensor, "image row channel"]:
    """What a block gave, by token; in one row where its rows are no tokens."""
    tensor = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    return tensor.reshape(n_images, 1, -1) if layer.rows is None else layer.rows.take(tensor)


def _around(modules: Iterable[str]) -> set[str]:
    """The modules, and all that they are parts of."""
    found: set[str] = set()
    for name in modules:
        while name:
            found.add(name)
            name = name.rpartition(".")[0]
    return found


def _children(names: Iterable[str]) -> Mapping[str, list[str]]:
    children: dict[str, list[str]] = {}
    for name in names:
        children.setdefault(name.rpartition(".")[0], []).append(name)
    return children
