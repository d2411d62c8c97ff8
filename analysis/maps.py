"""Attention maps small enough to be looked at: all heads of one image, in bytes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..models.capture import LayerAttention, watch
from ..models.checkpoint import Checkpoint

LEVELS = 255


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of one image, each query's row in 1/255 of its largest weight.

    The weight of a key is `weights / 255 * row_max`, right to 1/510 of the row's largest.
    """

    weights: UInt8[np.ndarray, "*head query key"]
    """`layer head query key` of all heads (zero for heads that a layer lacks), or `head query key`
    of those that were asked for."""
    row_max: Float[np.ndarray, "*head query"]

    @property
    def n_bytes(self) -> int:
        return self.weights.nbytes + self.row_max.nbytes


def attention_maps(
    checkpoint: Checkpoint,
    crop: UInt8[np.ndarray, "row column 3"],
    heads: Iterable[tuple[int, int]] | None = None,
) -> AttentionMaps:
    """The attention maps of one image, as `checkpoint.crop` gives it.

    Args:
        checkpoint: from `load`.
        crop: the pixels that the model sees.
        heads: `(layer, head)` of those wanted; None: all.

    Raises:
        HeadscopeError: a head that the checkpoint does not have.
    """
    chosen = None if heads is None else list(heads)
    for layer, head in chosen or ():
        checkpoint.check_head(layer, head)
    n_tokens = checkpoint.layout.n_tokens
    shape = (checkpoint.n_layers, max(checkpoint.n_heads)) if chosen is None else (len(chosen),)
    weights = np.zeros((*shape, n_tokens, n_tokens), np.uint8)
    row_max = np.zeros((*shape, n_tokens), np.float32)

    def keep(seen: LayerAttention) -> None:
        if chosen is None:
            n_heads = checkpoint.n_heads[seen.layer]
            at = (seen.layer, slice(0, n_heads))
            weights[at], row_max[at] = _in_bytes(seen.weights[0])
            return
        for index, (layer, head) in enumerate(chosen):
            if layer == seen.layer:
                weights[index], row_max[index] = _in_bytes(seen.weights[0, head])

    watch(checkpoint, checkpoint.prepare(crop[None]), keep)
    return AttentionMaps(weights, row_max)


def _in_bytes(weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    largest = weights.amax(-1)
    scaled = weights / largest.clamp_min(torch.finfo(weights.dtype).tiny).unsqueeze(-1) * LEVELS
    return scaled.round().to(torch.uint8).cpu().numpy(), largest.float().cpu().numpy()
