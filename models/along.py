"""Along which axis of a tensor the images of a batch lie, whatever the model did with it.

Models may put tokens before images (`token image channel`, as `nn.MultiheadAttention` does unless
told otherwise) or fold images into another axis. So the axis is not assumed: whatever moves a
tensor also moves one that holds the number of each element's image, and the axis is read off that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_WHOLE = 1e-3
"""Numbers of images that averaging and interpolation have rounded lie nearer than this."""


@dataclass(frozen=True)
class Along:
    """The axis of `n` groups of images, within it from the outside: `outer`, the groups, the rest.

    Counted from the last axis (-1), as broadcasting leaves that in place.
    """

    axis: int
    outer: int = 1

    @classmethod
    def first(cls, tensor: Tensor) -> "Along":
        return cls(-tensor.dim())

    def fits(self, tensor: Tensor, n: int) -> bool:
        if tensor.dim() < -self.axis:
            return False
        length = tensor.shape[self.axis]
        return length > 0 and not length % (self.outer * n)

    def split(self, tensor: Tensor, n: int) -> Tensor:
        """The groups as the first axis: `group … outer rest …`."""
        at = tensor.dim() + self.axis
        return tensor.unflatten(at, (self.outer, n, -1)).movedim(at + 1, 0)

    def join(self, split: Tensor) -> Tensor:
        """What `split` took apart."""
        at = split.dim() - 2 + self.axis
        return split.movedim(0, at + 1).flatten(at, at + 2)

    def numbers(self, like: Tensor, n: int) -> Tensor:
        """The number of each element's group, from 1, in the shape of `like`."""
        shape = [1] * like.dim()
        shape[self.axis] = like.shape[self.axis]
        count = torch.arange(1, n + 1, dtype=torch.float64, device=like.device)
        rest = like.shape[self.axis] // (self.outer * n)
        line = count[None, :, None].expand(self.outer, n, rest)
        return line.reshape(shape).expand(like.shape)


def along_of(numbers: Tensor, n: int, ones: Tensor | None = None) -> Along | None:
    """Where the groups are in a tensor of their numbers; None where they are not told apart.

    With `ones`, which went the same way, also where elements were added up, or zeros beside them.
    """
    found = None
    if not numbers.numel():
        return None
    for axis in range(numbers.dim()):
        if ones is None:
            line = numbers[(0,) * axis][(..., *(0,) * (numbers.dim() - axis - 1))]
        else:
            others = [other for other in range(numbers.dim()) if other != axis]
            line = numbers.sum(others) / ones.sum(others) if others else numbers / ones
            line = line.nan_to_num(float(line.nanmean()))  # nothing but zeros beside them
        if len(line) < n or not line.stride(0) or bool((line - line[0]).abs().max() < _WHOLE):
            continue
        changes = (line[1:] - line[:-1]).abs() > _WHOLE
        if not changes.any():
            return None
        rest = int(changes.nonzero()[0]) + 1
        outer = len(line) // (rest * n)
        expected = torch.arange(1, n + 1, dtype=line.dtype, device=line.device)
        expected = expected.repeat_interleave(rest).repeat(outer)
        if found is not None or len(expected) != len(line):
            return None
        if (line - expected).abs().max() > _WHOLE:
            return None
        found = Along(axis - numbers.dim(), outer)
    return found


def follow(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What a mover makes of the numbers; None where it can make nothing of them."""
    try:
        return func(*args, **kwargs)
    except (RuntimeError, TypeError, IndexError):
        return None
