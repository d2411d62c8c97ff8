"""Which pairs of a window a mask keeps apart, by the weights that it leaves."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .geometry import Axes
from .interception import AttentionCall
from .layout import AttentionLayout

UNREACHED = 1e-20
"""A mask leaves e⁻¹⁰⁰ or nothing, in all heads; a key that is only little liked has more."""


def unreached(call: AttentionCall) -> Tensor | None:
    """Where the weights of a call are what a mask leaves; None where nothing is, or where there is
    one window only."""
    weights = call.weights if call.unmixed is None else call.unmixed
    if len(weights) == 1:
        return None
    found = weights <= UNREACHED
    return found if bool(found.any()) else None


def without_masked(
    layout: AttentionLayout, axes: Axes, calls: Sequence[Tensor | None]
) -> AttentionLayout:
    """The layout of a layer, told which pairs no head lets attend, by `unreached` of its calls."""
    found = [axes.fold(call) for call in calls if call is not None]
    if len(found) < len(calls):
        return layout
    masked = torch.cat(found, 2).all(2).all(0).cpu().numpy()
    return replace(layout, masked=masked) if masked.any() else layout
