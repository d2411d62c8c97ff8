"""Derivatives through batch norms that are right for one image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextmanager
def sound_batch_norm() -> Iterator[None]:
    """Let derivatives through batch norms be right, for one image too.

    PyTorch (seen in 2.15, on a CPU) reads the derivative by the output of an evaluated batch norm
    in the wrong order where there is one image and the channels lie innermost, as they do where
    tokens come of a stem of convolutions (LeViT, XCiT, EfficientFormer). The result is no error
    but other numbers; a derivative that lies in the usual order is read well.
    """
    with _SoundBatchNorm():
        yield


class _SoundBatchNorm(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is functional.batch_norm and result.requires_grad:
            result.register_hook(_in_order)
        return result


def _in_order(slope: Tensor) -> Tensor:
    return slope.contiguous()
