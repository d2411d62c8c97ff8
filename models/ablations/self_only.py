"""Attention that never leaves its token."""

from typing import final

import torch
from torch import Tensor

from ..capture import LayerAttention
from ..layout import TokenLayout
from .base import HeadAblation
from .reference import StandIns


@final
class SelfOnly(HeadAblation):
    """Every query attends to itself alone: the head gives each token its own value, and moves
    nothing between tokens. Not where queries and keys are different tokens.
    """

    forms = ("self",)

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        return "" if queries == keys else "its queries and keys are different tokens"

    def attention(self, clean: LayerAttention, head: int) -> Tensor:
        del head
        own = torch.eye(clean.queries.n_tokens).to(clean.value)
        return own.expand(len(clean.window_weights), -1, -1)

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        del stand_ins
        return clean.value[:, head]
