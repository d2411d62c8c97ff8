"""Linear layers as fast as they can be had: exactly, or to the precision of what was changed.

Nearly all of a transformer's work is its linear layers, so they alone are computed otherwise.

*Exactly*: on a CPU, float32 goes to oneDNN, which PyTorch has beside MKL. Same arithmetic, sums in
another order; twice as fast on an AMD CPU, where MKL does not use all of it.

*As differences*, in half precision: of an ablated pass only its difference from the clean one is
rounded. With x the clean input of a linear layer, in float32, and x + δ the ablated one,

    W(x + δ) + b  =  (Wx + b) + Wδ  ≈  (Wx + b) + round(W) round(δ)

where the first term is exact and shared by all ablations. The error is 2⁻⁹ of the *change* (8 bits
of bfloat16), where half precision throughout leaves 2⁻⁹ of the value, which may be more than all
that the head does. A change of zero stays exactly zero.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .errors import HeadscopeError

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""By name, the type in which differences are computed; None: everything in the model's own."""


def check_precision(name: str, device: torch.device) -> None:
    """Raise a HeadscopeError unless a device computes in a precision."""
    if name not in PRECISIONS:
        raise HeadscopeError(
            f"There is no precision {name!r}; there are: {', '.join(sorted(PRECISIONS))}."
        )
    if name == "float16" and device.type != "cuda":
        raise HeadscopeError(
            f"float16 runs on a CUDA device only, and this is {device.type!r}; take 'bfloat16' or "
            "'float32'."
        )
    if name == "bfloat16" and not _has_bfloat16(device):
        raise HeadscopeError(
            f"This {device.type} device has no arithmetic in bfloat16 (a CPU needs avx512_bf16, "
            "a GPU compute capability 8.0): it would be emulated, slower than float32. Take "
            "'float32'."
        )


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch has no public question for the CPU that is about speed.
    return torch.cpu._is_avx512_bf16_supported()


class Linears(TorchFunctionMode):
    """While entered, linear layers on this thread run as said above."""

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        self._low = PRECISIONS[precision]
        self._recording = False
        self._clean: dict[nn.Parameter, tuple[Tensor, Tensor] | None] = {}
        self._rounded: dict[nn.Parameter, Tensor] = {}

    @contextmanager
    def clean_pass(self) -> Iterator[None]:
        """Run exactly, and let the forward pass of this context be what is subtracted later.

        In half precision its inputs and outputs of linear layers are kept, for the whole batch.
        """
        self._clean.clear()
        self._recording = True
        try:
            with self:
                yield
        finally:
            self._recording = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func is not functional.linear:
            return func(*args, **kwargs)
        return self._linear(*args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self._low is None or not isinstance(weight, nn.Parameter):
            return _exact(input, weight, bias)
        if self._recording:
            output = _exact(input, weight, bias)
            # Copies, as a model may go on in place. A weight that is used twice has no one input.
            again = weight in self._clean
            self._clean[weight] = None if again else (input.clone(), output.clone())
            return output
        clean = self._clean.get(weight)
        if clean is None or input.shape[1:] != clean[0].shape[1:] or len(input) % len(clean[0]):
            return _exact(input, weight, bias)  # such as the few rows of a last block
        # Whatever is subtracted is added again: a wrong pairing would cost precision, not truth.
        parts = input.unflatten(0, (-1, len(clean[0])))
        change = functional.linear((parts - clean[0]).to(self._low), self._round(weight))
        return (change + clean[1]).flatten(0, 1)

    def _round(self, weight: nn.Parameter) -> Tensor:
        assert self._low is not None
        if weight not in self._rounded:
            self._rounded[weight] = weight.to(self._low)
        return self._rounded[weight]


def _exact(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if (
        torch.backends.mkldnn.is_available()
        and input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
    ):
        # What torch.compile uses; it has no public name.
        return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return functional.linear(input, weight, bias)
