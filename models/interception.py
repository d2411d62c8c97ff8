"""Every softmax attention of a forward pass, seen as it happens, and open to change.

Attention in PyTorch goes through `scaled_dot_product_attention`, or through a `softmax` over keys
followed by a product with the values. A `TorchFunctionMode` sees those calls with the arguments
that the model itself passed: after rotary embedding, relative bias and query-key norm. So nothing
is recomputed from weights of the model, and nothing is patched. Forward hooks tell which module
is running.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax}
_DROPOUT = {torch.dropout, functional.dropout}
_MATMUL = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm}


@dataclass(frozen=True)
class Site:
    """A place in the model where attention happens: a module, and which of its calls."""

    module: str
    """Name within the model; `""` is the model itself."""
    call: int = 0
    """0 for the module's first attention in a forward pass, 1 for its second, …"""

    def __str__(self) -> str:
        return self.module if self.call == 0 else f"{self.module} (call {self.call})"


class AttentionCall:
    """One attention as the model computes it: weights, values and their product."""

    def __init__(
        self, site: Site, value: Tensor, output: Tensor, weights: Callable[[], Tensor]
    ) -> None:
        self.site = site
        self.value = value
        """As `image head key channel`."""
        self.output = output
        """`weights @ value` as the model computed it: `image head query channel`."""
        self._weights = weights

    @cached_property
    def weights(self) -> Float[Tensor, "image head query key"]:
        """Attention after softmax: rows sum to 1 over keys."""
        return self._weights()


OnCall = Callable[[AttentionCall], Tensor | None]
"""Looks at a call; what it returns, if anything, takes the place of the call's output."""


@contextmanager
def intercept(model: nn.Module, on_call: OnCall, *, name: str = "") -> Iterator[None]:
    """Show every attention of `model` to `on_call` while the context lasts, on this thread.

    Looking changes no bit of the output: a fused call runs as it would, and its weights are
    computed beside it, only if asked for. Hooks are gone on leaving, also when a layer raises.
    `name` is what `model` is called within a larger one, so that sites keep their names.
    """
    tracker = _ModuleTracker(model, name)
    try:
        with _AttentionMode(tracker, on_call):
            yield
    finally:
        tracker.remove()


class _ModuleTracker:
    """Knows the name of the module that is running."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        self.passes = 0
        """Forward passes begun so far."""
        self._running: list[str] = []
        self._handles = []
        for name, module in model.named_modules(prefix=prefix):
            self._handles += [
                module.register_forward_pre_hook(self._enter(name), prepend=True),
                # always_call: the stack must unwind when a layer raises.
                module.register_forward_hook(self._leave, always_call=True),
            ]

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(_module: nn.Module, _args: Any) -> None:
            self.passes += not self._running
            self._running.append(name)

        return enter

    def _leave(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        self._running.pop()

    @property
    def running(self) -> str:
        return self._running[-1] if self._running else ""

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


@dataclass
class _PendingSoftmax:
    """Weights that wait for their product with the values."""

    weights: Tensor
    alias: Tensor
    """What the model holds now: the weights themselves, or what dropout made of them."""

    def give_weights(self) -> Tensor:
        return self.weights


class _AttentionMode(TorchFunctionMode):
    def __init__(self, tracker: _ModuleTracker, on_call: OnCall) -> None:
        super().__init__()
        self._tracker = tracker
        self._on_call = on_call
        self._pass = 0
        self._calls: dict[str, int] = {}
        self._pending: list[_PendingSoftmax] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._tracker.passes != self._pass:
            # Calls are counted in each forward pass anew: a context may see many.
            self._pass = self._tracker.passes
            self._calls.clear()
            self._pending.clear()
        if func is functional.scaled_dot_product_attention:
            bound = _SdpaArguments(*args, **(kwargs or {}))
            return self._seen(bound.value_of_each_head, result, bound.weights)
        if func in _SOFTMAX and result.dim() >= 3:
            self._pending.append(_PendingSoftmax(result, result))
        elif func in _DROPOUT and args:
            for pending in self._pending:
                if args[0] is pending.alias:
                    pending.alias = result
        elif func in _MATMUL and len(args) > 1:
            for pending in self._pending:
                if args[0] is pending.alias:
                    self._pending.remove(pending)
                    return self._seen(args[1], result, pending.give_weights)
        return result

    def _seen(self, value: Tensor, output: Tensor, weights: Callable[[], Tensor]) -> Tensor:
        # The product tells whose attention it is: softmax and dropout may be sub-modules.
        module = self._tracker.running
        index = self._calls.get(module, 0)
        self._calls[module] = index + 1
        replacement = self._on_call(AttentionCall(Site(module, index), value, output, weights))
        return output if replacement is None else replacement


@dataclass(frozen=True)
class _SdpaArguments:
    """The arguments of `scaled_dot_product_attention`, by its own names and order."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    @property
    def value_of_each_head(self) -> Tensor:
        return self._of_each_head(self.value)

    def _of_each_head(self, tensor: Tensor) -> Tensor:
        """Grouped-query attention shares a key-value head among neighbouring query heads."""
        if not self.enable_gqa:
            return tensor
        return tensor.repeat_interleave(self.query.shape[-3] // tensor.shape[-3], dim=-3)

    def weights(self) -> Tensor:
        """softmax(q kᵀ · scale + mask), at least in float32: half precision would lose the tail."""
        dtype = torch.promote_types(self.query.dtype, torch.float32)
        scale = 1 / math.sqrt(self.query.shape[-1]) if self.scale is None else self.scale
        key = self._of_each_head(self.key).to(dtype)
        scores = (self.query.to(dtype) * scale) @ key.transpose(-2, -1)
        mask = self.attn_mask
        if self.is_causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        elif mask is not None:
            scores = scores + mask
        return scores.softmax(dim=-1)
