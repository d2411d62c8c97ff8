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
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, functional.softmax}
_MATMUL = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm}

MULTI_HEAD_BODY = FunctionType(
    functional.multi_head_attention_forward.__code__,
    {**vars(functional), "has_torch_function": lambda _: False},
    "multi_head_attention_forward",
    functional.multi_head_attention_forward.__defaults__,
)
"""PyTorch's own multi-head attention, told that nothing overrides it: so the calls within it can
be seen, where it would hand itself over as one."""


_DEPTH: ContextVar[int] = ContextVar("depth", default=0)
"""How many passes that are nobody else's affair are within each other."""


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
    """One attention as the model computes it: weights, values and their product.

    Axes are the model's own, whatever it made of images, windows and heads; the last two are
    (query, key), (key, channel) and (query, channel). Nothing is computed before it is asked for.
    """

    def __init__(
        self,
        site: Site,
        value: Tensor,
        *,
        output: Callable[[], Tensor],
        weights: Callable[[], Tensor],
        operands: tuple[Tensor, Tensor] | None = None,
        unmixed: Callable[[], Tensor | None] | None = None,
    ) -> None:
        self.site = site
        self.value = value
        """As `... key channel`."""
        self.operands = operands
        """Query and key of a fused attention; None where weights were formed step by step."""
        self._unmixed = unmixed
        self._output = output
        self._weights = weights

    def part(self, index: int, n_parts: int) -> "AttentionCall":
        """One of equal parts of the batch, by itself."""

        def part(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (n_parts, -1))[index]

        return AttentionCall(
            self.site,
            part(self.value),
            output=lambda: part(self.output),
            weights=lambda: part(self.weights),
            unmixed=lambda: None if self.unmixed is None else part(self.unmixed),
        )

    def with_maps(self, maps: Float[Tensor, "*lead query key"]) -> "AttentionCall":
        """The same call with other weights; value and output stay as they are."""
        return AttentionCall(
            self.site,
            self.value,
            output=lambda: self.output,
            weights=lambda: maps,
            unmixed=lambda: maps,
        )

    @cached_property
    def weights(self) -> Float[Tensor, "*lead query key"]:
        """Attention as it meets the values; after a softmax alone, rows sum to 1 over keys."""
        return self._weights()

    @cached_property
    def unmixed(self) -> Float[Tensor, "*lead query key"] | None:
        """Weights as the softmax gave them, where the model changes them after it; else None."""
        return None if self._unmixed is None else self._unmixed()

    @cached_property
    def output(self) -> Float[Tensor, "*lead query channel"]:
        """`weights @ value` as the model itself computes it."""
        return self._output()


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


@contextmanager
def apart() -> Iterator[None]:
    """Passes in this context are seen by the interceptions that begin in it, and by no other.

    For those that run within a pass, to find out what it needs.
    """
    token = _DEPTH.set(_DEPTH.get() + 1)
    try:
        yield
    finally:
        _DEPTH.reset(token)


def of_this_pass(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A forward hook that is not called in passes `apart` from the one that it is made for."""
    depth = _DEPTH.get()

    def called(*args: Any) -> Any:
        return hook(*args) if _DEPTH.get() == depth else None

    return called


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Let PyTorch's own encoder layers run as they do while they are watched.

    Unwatched they take a short cut that rounds differently. The switch is the process's.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


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
class _Lineage:
    """A tensor that came of a softmax, on its way to the values."""

    tensor: Tensor
    """Held, so that its id stays its own."""
    origins: tuple[Tensor, ...]
    """The softmaxes that it came of; several where the model mixes them (ConViT)."""

    @property
    def unmixed(self) -> Tensor | None:
        """The softmax itself, unless it is what meets the values."""
        origin = self.origins[0]
        same = len(self.origins) == 1 and torch.equal(origin, self.tensor.reshape(origin.shape))
        return None if same else origin


class _AttentionMode(TorchFunctionMode):
    def __init__(self, tracker: _ModuleTracker, on_call: OnCall) -> None:
        super().__init__()
        self._tracker = tracker
        self._on_call = on_call
        self._depth = _DEPTH.get()
        self._pass = 0
        self._calls: dict[str, int] = {}
        self._lines: dict[int, _Lineage] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if _DEPTH.get() != self._depth:
            return func(*args, **kwargs)
        if self._tracker.passes != self._pass:
            # Calls are counted in each forward pass anew: a context may see many.
            self._pass = self._tracker.passes
            self._calls.clear()
            self._lines.clear()
        if func is functional.multi_head_attention_forward:
            with self:  # its body calls the attention that is to be seen
                return MULTI_HEAD_BODY(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._fused(func, args, kwargs)
        if self._lines and func in _MATMUL and len(args) > 1:
            for position, transposed in ((0, False), (1, True)):
                line = self._lines.get(id(args[position]))
                if line is not None:
                    return self._product(func, args, line, transposed=transposed)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and result.dim() >= 3:
            self._lines[id(result)] = _Lineage(result, (result,))
        elif self._lines:
            self._follow(args, result)
        return result

    def _follow(self, args: tuple[Any, ...], result: Any) -> None:
        """Weights may be masked, dropped, rescaled, moved and mixed before they meet the values."""
        found = [self._lines[id(a)] for a in args if id(a) in self._lines]
        found += [
            self._lines[id(a)]
            for several in args
            if isinstance(several, (list, tuple))
            for a in several
            if id(a) in self._lines
        ]
        if not found:
            return
        origins = tuple({id(o): o for line in found for o in line.origins}.values())
        largest = max(origin.numel() for origin in origins)
        for tensor in result if isinstance(result, (list, tuple)) else (result,):
            # What has grown is no map any more: gates weigh features, not values.
            if isinstance(tensor, Tensor) and tensor.dim() >= 3 and tensor.numel() <= largest:
                self._lines[id(tensor)] = _Lineage(tensor, origins)

    def _product(
        self, func: Callable[..., Any], args: tuple[Any, ...], line: _Lineage, *, transposed: bool
    ) -> Tensor:
        used = {id(origin) for origin in line.origins}
        self._lines = {
            key: other
            for key, other in self._lines.items()
            if used.isdisjoint(id(origin) for origin in other.origins)
        }
        if not transposed:
            return self._seen(
                args[1],
                lambda: func(*args),
                lambda: line.tensor,
                unmixed=lambda: line.unmixed,
            )
        # values @ weightsᵀ, channels first: the same product, seen from its other side
        return (
            self._seen(
                args[0].transpose(-2, -1),
                lambda: func(*args).transpose(-2, -1),
                lambda: line.tensor.transpose(-2, -1),
                unmixed=lambda: line.unmixed,
            )
            .transpose(-2, -1)
            .contiguous()
        )  # as the product itself lies in memory: models view it

    def _fused(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        bound = SdpaArguments(*args, **kwargs)
        return self._seen(
            bound.value_of_each_head,
            lambda: func(*args, **kwargs),
            bound.weights,
            operands=(bound.query, bound.key_of_each_head),
        )

    def _seen(
        self,
        value: Tensor,
        output: Callable[[], Tensor],
        weights: Callable[[], Tensor],
        *,
        operands: tuple[Tensor, Tensor] | None = None,
        unmixed: Callable[[], Tensor | None] | None = None,
    ) -> Tensor:
        # The product tells whose attention it is: softmax and dropout may be sub-modules.
        module = self._tracker.running
        index = self._calls.get(module, 0)
        self._calls[module] = index + 1
        call = AttentionCall(
            Site(module, index),
            value,
            output=output,
            weights=weights,
            operands=operands,
            unmixed=unmixed,
        )
        replacement = self._on_call(call)
        return call.output if replacement is None else replacement.contiguous()


@dataclass(frozen=True)
class SdpaArguments:
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

    @property
    def key_of_each_head(self) -> Tensor:
        return self._of_each_head(self.key)

    def _of_each_head(self, tensor: Tensor) -> Tensor:
        """Grouped-query attention shares a key-value head among neighbouring query heads."""
        if not self.enable_gqa:
            return tensor
        return tensor.repeat_interleave(self.query.shape[-3] // tensor.shape[-3], dim=-3)

    def weights(self) -> Tensor:
        """softmax(q kᵀ · scale + mask), at least in float32: half precision would lose the tail."""
        dtype = torch.promote_types(self.query.dtype, torch.float32)
        scale = 1 / math.sqrt(self.query.shape[-1]) if self.scale is None else self.scale
        key = self.key_of_each_head.to(dtype)
        scores = (self.query.to(dtype) * scale) @ key.transpose(-2, -1)
        mask = self.attn_mask
        if self.is_causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -math.inf)
        elif mask is not None:
            scores = scores + mask
        return scores.softmax(dim=-1)
