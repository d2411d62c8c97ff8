"""The γ-rule of maps that are linear in what comes of the image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def gamma_rule(
    func: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rest: tuple[Any, ...],
    settings: dict[str, Any],
    gamma: float,
) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
    """A linear map or convolution, and what its bias takes of a derivative by the result.

    With z_ij = x_i w_ij, z_j = Σ_i z_ij + b_j: R_i = Σ_j (z_ij + γ z_ij^±) / (z_j + γ z_j^±) R_j,
    where ± is the sign of z_j, and z_j^± the sum of the contributions of that sign, b_j among them.
    The denominator has at least the size of z_j, so no contribution is blown up by it.
    """
    z = func(x, weight, None, *rest, **settings)
    positive = func(x.clamp(min=0), weight.clamp(min=0), None, *rest, **settings)
    positive = positive + func(x.clamp(max=0), weight.clamp(max=0), None, *rest, **settings)
    offset = None
    total = z
    if bias is not None:
        axes = 0 if func.__name__ == "linear" else z.dim() - 2
        offset = bias.view(-1, *(1,) * axes)
        total = z + offset
    up = total.detach() >= 0
    boosted = z + gamma * torch.where(up, positive, z - positive)
    of_bias = None
    if offset is not None:
        of_bias = offset + gamma * torch.where(up, offset.clamp(min=0), offset.clamp(max=0))
    whole = boosted if of_bias is None else boosted + of_bias
    value = whole.detach()
    share = torch.where(value == 0, 0, total.detach() / value)
    result = whole * share
    if of_bias is None:
        return result, None
    return result, lambda slope: slope * share * of_bias
