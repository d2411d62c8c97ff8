"""Which tokens, at which place of the model, its output depends on: measured, not assumed."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ...models.batch_norm import sound_batch_norm
from ...models.checkpoint import Checkpoint
from ...models.geometry import Rows
from ...models.interception import apart, of_this_pass, without_fast_path
from ...models.layers import Layer
from ...models.runs import tensors_of


@dataclass(frozen=True, eq=False)
class Spot:
    """What a module gives, and which of its rows are which tokens."""

    module: str
    rows: Rows
    kinds: frozenset[str]
    """Kinds of those tokens there on which the model's output depends."""


@dataclass(frozen=True, eq=False)
class Dependence:
    """By layer, the two places where its tokens can be read; None where there is no such place."""

    given: tuple[Spot | None, ...]
    """What the attention is given: its norm's output, as a rule."""
    made: tuple[Spot | None, ...]
    """What its block gives."""


_KNOWN: "WeakKeyDictionary[Checkpoint, Dependence]" = WeakKeyDictionary()


def dependence(checkpoint: Checkpoint) -> Dependence:
    """On which kinds of tokens the output depends, layer by layer.

    That is so of the network, whatever the image: one forward and one backward pass on noise, once
    for a checkpoint. A token counts where some derivative of the output by it is not 0.
    """
    with checkpoint.lock:
        if checkpoint not in _KNOWN:
            _KNOWN[checkpoint] = _measure(checkpoint)
        return _KNOWN[checkpoint]


def _measure(checkpoint: Checkpoint) -> Dependence:
    weight = next(checkpoint.model.parameters())
    shape = (1, checkpoint.preprocessing.channels, *checkpoint.preprocessing.size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made: dict[str, list[Tensor]] = {}
    maker_of: dict[int, str] = {}
    given: dict[str, str] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensors = tensors_of(output)
            made.setdefault(name, []).extend(tensors[:1])
            if tensors:
                maker_of[id(tensors[0])] = name  # held in `made`, so that the id stays its own

        return hook

    def meet(name: str) -> Any:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = tensors_of((args, kwargs))
            given.setdefault(name, maker_of.get(id(tensors[0]), "") if tensors else "")

        return hook

    attentions = {layer.module for layer in checkpoint.layers}
    with ExitStack() as stack:
        # Not through an ablation that is on: what it cuts is no matter of the network.
        stack.enter_context(apart())
        for name, module in checkpoint.model.named_modules():
            if name in attentions:
                handle = module.register_forward_pre_hook(
                    of_this_pass(meet(name)), with_kwargs=True
                )
                stack.callback(handle.remove)
            stack.callback(module.register_forward_hook(of_this_pass(keep(name))).remove)
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(without_fast_path())
        stack.enter_context(sound_batch_norm())
        with torch.enable_grad():
            batch = noise.to(weight).requires_grad_()
            output = checkpoint.readout(checkpoint.model(batch))
            # Numbers that differ, as the logits' plain sum may be the same for all images.
            ramp = torch.linspace(1, 2, output.shape[-1]).to(output)
            places = {
                name: tensors[0]
                for name, tensors in made.items()
                if len(tensors) == 1 and tensors[0].requires_grad
            }
            slopes = torch.autograd.grad(
                (output * ramp).sum(), [*places.values()], allow_unused=True
            )
    slope_of = dict(zip(places, slopes, strict=True))

    def spot(module: str, rows: Rows | None) -> Spot | None:
        if module not in slope_of or rows is None:
            return None
        slope = slope_of[module]
        return Spot(module, rows, frozenset() if slope is None else _kinds(rows, slope))

    inputs = [given.get(layer.module, "") for layer in checkpoint.layers]
    return Dependence(
        tuple(
            spot(name, _rows_given(checkpoint, layer, name, places.get(name)))
            for layer, name in zip(checkpoint.layers, inputs, strict=True)
        ),
        tuple(spot(layer.block, layer.rows) for layer in checkpoint.layers),
    )


def _kinds(rows: Rows, slope: Tensor) -> frozenset[str]:
    moved = (rows.take(slope) != 0).any(-1)[0].cpu().numpy()
    return frozenset(
        kind for kind, moves in zip(rows.layout.kinds, moved, strict=True) if bool(moves)
    )


def _rows_given(
    checkpoint: Checkpoint, layer: Layer, maker: str, tensor: Tensor | None
) -> Rows | None:
    """The rows of what an attention between all tokens is given: its keys, in their order."""
    axes = checkpoint.image_axes.get(maker, ())
    if tensor is None or not axes or axes[0] not in (0, 1) or tensor.dim() != 3:
        return None
    keys = layer.layout.keys
    if not layer.layout.is_dense or tensor.shape[1 - axes[0]] != keys.n_tokens:
        return None
    return Rows(axes[0], 1, 3, keys, np.arange(keys.n_tokens))
