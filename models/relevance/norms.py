"""Norms whose standard deviation is a constant: what remains is linear."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Share = Callable[[tuple[Any, ...]], tuple[Any, ...]]
Parts = tuple[Tensor, Tensor | None]
"""What is proportional to the input, and what is added to it."""


def _layer_norm(
    _: Share,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_rest: Any,
) -> Parts:
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    result = _standardised(input, axes, eps)
    return (result if weight is None else result * weight), bias


def _rms_norm(
    _: Share,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Parts:
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    result = input * (input.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
    return (result if weight is None else result * weight), None


def _group_norm(
    _: Share,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_rest: Any,
) -> Parts:
    grouped = input.reshape(len(input), num_groups, -1)
    result = _standardised(grouped, (-1,), eps).reshape(input.shape)
    return _scaled(result, weight, bias)


def _instance_norm(
    _: Share,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,  # noqa: FBT001, FBT002 (PyTorch's own signature)
    _momentum: float = 0.1,
    eps: float = 1e-5,
    **_rest: Any,
) -> Parts:
    if use_input_stats or running_mean is None or running_var is None:
        return _scaled(_standardised(input, tuple(range(2, input.dim())), eps), weight, bias)
    return standing_norm(input, running_mean, running_var, weight, bias, eps)


def standing_norm(
    input: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """A norm by the statistics of its training, in two parts: proportional to the input, added."""
    along = (-1, *(1,) * (input.dim() - 2))
    scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
    offset = -running_mean * scale + (0 if bias is None else bias)
    return input * scale.view(along), offset.view(along)


def _normalize(
    _: Share, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_rest: Any
) -> Parts:
    return input / torch.linalg.vector_norm(input.detach(), p, dim, keepdim=True).clamp(eps), None


def _cosine_similarity(
    share: Share, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Parts:
    units = [
        x / torch.linalg.vector_norm(x.detach(), 2, dim, keepdim=True).clamp(eps) for x in (x1, x2)
    ]
    one, other = share(tuple(units))
    return (one * other).sum(dim), None


NORMS: Mapping[str, Callable[..., Parts]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "normalize": _normalize,
    "cosine_similarity": _cosine_similarity,
}
"""By the function's name; each takes how products are shared, and the function's own arguments."""


def _standardised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()


def _scaled(result: Tensor, weight: Tensor | None, bias: Tensor | None) -> Parts:
    along = (-1, *(1,) * (result.dim() - 2))
    scaled = result if weight is None else result * weight.view(along)
    return scaled, None if bias is None else bias.view(along)
