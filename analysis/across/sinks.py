"""How constant sinks are from image to image."""

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.checkpoint import Checkpoint
from ..metrics.sinks import received
from .base import Across, side_by_side


@final
class SinkConstancy(Across):
    """Share of the images in which the token that gets most attention is the one that gets it in
    most images.

    Range: 1/(number of images) to 1 (the same token in all of them).
    Reading: 1: a sink by its place, such as the class token or a register; near the least where it
    moves with what is in the image.
    Source: our own.
    """

    name = "sink_constancy"
    long_name = "Constancy of the sink"
    units = "share"
    dims = ("layer", "head")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        # Memory: one count for each head and key.
        self._counts = [
            torch.zeros(layer.n_heads, layer.layout.keys.n_tokens, dtype=torch.long)
            for layer in checkpoint.layers
        ]

    def fold(self, layer: LayerAttention) -> None:
        most = received(layer).nan_to_num(nan=-1).argmax(-1).T.cpu()
        self._counts[layer.layer].scatter_add_(1, most, torch.ones_like(most))

    def finish(self) -> Float[np.ndarray, "layer head"]:
        return side_by_side(
            [(counts.amax(-1) / counts.sum(-1)).double().numpy() for counts in self._counts]
        )


@final
class SinkAgreement(Across):
    """Mean cosine between what keys get (c, as in `sink_score`) in one image and in another, over
    all pairs of images: (‖Σ u‖² − n) / (n (n − 1)) with u = c / ‖c‖.

    Range: 0 to 1 (queries look at the same places in every image).
    Reading: near 0 where what a head's queries look at lies elsewhere each time; NaN for one image.
    Source: our own.
    """

    name = "sink_agreement"
    long_name = "Agreement of what keys get"
    units = "cosine"
    dims = ("layer", "head")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._n_images = 0
        # Memory: one vector over keys for each head.
        self._sums: list[Tensor] = [
            torch.zeros(layer.n_heads, layer.layout.keys.n_tokens, dtype=torch.double)
            for layer in checkpoint.layers
        ]

    def fold(self, layer: LayerAttention) -> None:
        share = received(layer).nan_to_num().double().cpu()
        if layer.layer == 0:
            self._n_images += len(share)
        self._sums[layer.layer] += (share / share.norm(dim=-1, keepdim=True)).sum(0)

    def finish(self) -> Float[np.ndarray, "layer head"]:
        n = self._n_images
        if n < 2:
            return side_by_side([np.full(len(total), np.nan) for total in self._sums])
        squares = [total.square().sum(-1).numpy() for total in self._sums]
        return side_by_side([(square - n) / (n * (n - 1)) for square in squares])
