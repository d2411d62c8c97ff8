"""What modules were given and gave in a forward pass, and whether a reading makes the same."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .interception import AttentionCall, intercept


def block_of(attention: str, others: Collection[str], called: Mapping[str, nn.Module]) -> str:
    """The smallest module around an attention that has an MLP beside it: its block.

    One weight layer beside it may be its own projection (in transformers' models), two are an MLP.
    Where there is none without another attention in it, it is the largest module without.
    """
    block = attention
    parts = attention.split(".")
    for end in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:end])
        if any(other.startswith(f"{name}.") for other in others if other != attention):
            break
        if name not in called:  # a list of modules
            continue
        block = name
        beside = [
            inner
            for inner, module in called[name].named_modules(prefix=name)
            if isinstance(module, (nn.Linear, nn.Conv2d)) and not inner.startswith(f"{attention}.")
        ]
        if len(beside) > 1:
            break
    return block


def attention_modules(model: nn.Module) -> Sequence[str]:
    """Modules that are attention by their class's name: a census that capture has no part in."""
    named = [
        name
        for name, module in model.named_modules()
        if "attn" in type(module).__name__.lower() or "attention" in type(module).__name__.lower()
    ]
    return [name for name in named if not any(other.startswith(f"{name}.") for other in named)]


Run = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional arguments, keyword arguments and output of a module's call."""


@contextmanager
def record_runs(model: nn.Module) -> Iterator[dict[str, list[Run]]]:
    """Keep the arguments and the output of every call of every module."""
    runs: dict[str, list[Run]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            runs.setdefault(name, []).append((args, kwargs, output))

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            handle = module.register_forward_hook(keep(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield runs


def parity_of(module: nn.Module, runs: Iterable[Run]) -> float:
    """Largest relative change of a module's output when its attention is made of the weights read.

    The module runs again on the same input; `weights @ value` takes the place of its own product
    and goes on through its projection.
    """

    def from_weights(call: AttentionCall) -> Tensor:
        nonlocal fired
        fired = True
        product = call.weights.to(call.value.dtype) @ call.value
        return product.reshape(call.output.shape)

    worst = 0.0
    for args, kwargs, output in runs:
        fired = False
        with torch.inference_mode(), intercept(module, from_weights):
            again = tensors_of(module(*args, **kwargs))
        if not fired:
            return float("inf")
        for before, after in zip(tensors_of(output), again, strict=True):
            scale = before.abs().max().clamp_min(torch.finfo(before.dtype).tiny)
            worst = max(worst, float((after - before).abs().max() / scale))
    return worst


def tensors_of(output: Any) -> list[Tensor]:
    """The floating-point tensors of an output, whatever holds them."""
    return [
        leaf
        for leaf in tree_leaves(output)
        if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
