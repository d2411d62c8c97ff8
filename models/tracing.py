"""Runs a model on places, to learn where the queries and keys of every attention are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from .interception import AttentionCall, Site, intercept
from .places import FAINT, PAYLOADS, Places, image_of_places, keys_of, prefix_beside, prefix_like


@dataclass(frozen=True)
class Traced:
    """Places of one attention's queries and keys, `*lead token` on the model's own axes."""

    query: Tensor
    key: Tensor
    learned_queries: bool
    """The queries are parameters."""
    images_first: bool
    """The first axis is that of the images, alone or with windows and heads within each."""


@dataclass(frozen=True)
class Trace:
    """What a run on places told."""

    attention: Mapping[Site, Traced]
    outputs: Mapping[str, Places]
    """Places in what the modules asked about gave, by their name; of several, the first."""
    image_axes: Mapping[str, tuple[int | None, ...]]
    """Of the tensors that a module gives, the axis of the images; None for parameters."""


def trace(
    model: nn.Module,
    size: tuple[int, int],
    *,
    channels: int = 3,
    n_images: int = 1,
    choices: Sequence[Any] = (),
    outputs: Collection[str] = (),
) -> Trace:
    """Where the tokens of every attention are, for an input of `size` pixels (height, width).

    The model runs once, on pixels that hold their own coordinates.

    Args:
        model: in evaluation mode.
        size: of the input.
        channels: of the input.
        n_images: images in `choices`.
        choices: those that the model made on real images (`Choices.record`): routing depends on
            features, which places are not.
        outputs: modules of whose outputs the places are kept.
    """
    attention: dict[Site, Traced] = {}
    kept: dict[str, Places] = {}
    image_axes: dict[str, tuple[int | None, ...]] = {}

    def on_call(call: AttentionCall) -> None:
        found = _trace_fused(*call.operands) if call.operands else _trace_weights(call.weights)
        if found is not None:
            attention[call.site] = found

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            image_axes[name] = tuple(_image_axis(leaf) for leaf in leaves)
            places = [leaf for leaf in leaves if isinstance(leaf, Places)]
            if name in outputs and places:
                kept[name] = places[0]

        return hook

    batch = image_of_places(n_images, channels, size, next(model.parameters()).device)
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(keep(name)).remove)
        with torch.inference_mode(), Choices(choices).replay(PAYLOADS), intercept(model, on_call):
            model(batch)
    return Trace(attention, kept, image_axes)


def _image_axis(leaf: Tensor) -> int | None:
    """From the front; None also where images lie within something else."""
    if not isinstance(leaf, Places) or leaf.along is None or leaf.along.outer > 1:
        return None
    return leaf.dim() + leaf.along.axis


def _trace_fused(query: Tensor, key: Tensor) -> Traced | None:
    sides = [side for side in (query, key) if isinstance(side, Places)]
    if not sides:
        return None
    learned = not isinstance(query, Places)
    query, key = (
        side if isinstance(side, Places) else prefix_like(side)
        for side in (prefix_beside(side, sides[0]) for side in (query, key))
    )
    first = all(_image_axis(side) == 0 for side in sides)
    return Traced(query.main.mean(-1), key.main.mean(-1), learned, first)


def _trace_weights(weights: Tensor) -> Traced | None:
    if not isinstance(weights, Places):
        return None  # made of parameters alone
    query, key = weights.main.mean(-1), keys_of(weights).mean(-2)
    if weights.shape[-2] == 1 and weights.shape[-1] > 1 and weights.main.std(-1).max() > FAINT:
        # Weights made token by token, for one query beside them.
        query = prefix_like(query).main
    first = _image_axis(weights) == 0
    return Traced(query, key, learned_queries=False, images_first=first)


class Choices:
    """What a model picks by its features (the regions that a query is routed to, say)."""

    def __init__(self, made: Sequence[Any] = ()) -> None:
        self.made = list(made)

    def record(self) -> TorchFunctionMode:
        """Keep what is chosen in this context."""
        return _Recorder(self.made)

    def replay(self, times: int) -> TorchFunctionMode:
        """Choose again what was chosen, for a batch that is `times` as large."""
        return _Chooser([tree_map(lambda t: _repeat(t, times), made) for made in self.made])


def _repeat(tensor: Any, times: int) -> Any:
    return tensor.repeat(times, *[1] * (tensor.dim() - 1)) if isinstance(tensor, Tensor) else tensor


def _chooses(func: Callable[..., Any]) -> bool:
    return func.__name__ in ("topk", "argsort", "sort", "argmax", "argmin", "multinomial")


class _Recorder(TorchFunctionMode):
    def __init__(self, made: list[Any]) -> None:
        super().__init__()
        self._made = made

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if _chooses(func):
            self._made.append(result)
        return result


class _Chooser(TorchFunctionMode):
    def __init__(self, made: list[Any]) -> None:
        super().__init__()
        self._made = iter(made)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if _chooses(func):
            return next(self._made)
        return func(*args, **(kwargs or {}))
