"""Attention without a choice."""

from typing import final

import torch
from torch import Tensor

from ..capture import LayerAttention
from .base import HeadAblation
from .reference import StandIns


@final
class Uniform(HeadAblation):
    """Every query attends to all keys in its reach alike: the head gives the mean of their values.
    What is lost is what the head's choice of keys was worth; the values stay. After Wiegreffe &
    Pinter, "Attention is not not Explanation" (2019), section 3.2, who retrain the rest; here
    nothing is trained.
    """

    forms = ("uniform",)

    def attention(self, clean: LayerAttention, head: int) -> Tensor:
        del head
        if clean.layout.is_dense:
            n_queries, n_keys = clean.queries.n_tokens, clean.keys.n_tokens
            shape = len(clean.window_weights), n_queries, n_keys
            return clean.value.new_full(shape, 1 / n_keys)
        reaches = [image.reach().to(clean.value) for image in clean.images]
        rows = torch.stack([reach / reach.sum(-1, keepdim=True) for reach in reaches])
        return rows.expand(len(clean.window_weights), -1, -1)

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        del stand_ins
        if clean.layout.is_dense:
            return clean.value[:, head].mean(-2, keepdim=True)
        outputs = []
        for image in clean.images:
            value = image.value[:, head]
            reach = image.reach().to(value)
            outputs.append((reach / reach.sum(-1, keepdim=True)) @ value)
        return torch.cat(outputs)
