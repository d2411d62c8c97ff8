"""The maps of one head for several images, for the small multiples."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from ..jobs import Job

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint
    from ...analysis.maps import LayerMaps

AT_ONCE_BYTES = 200_000_000
"""Maps of the layer's heads in one pass; as a rule all images pass at once."""


def maps(
    job: "Job[tuple[LayerMaps, ...]]",
    checkpoint: "Checkpoint",
    crops: UInt8[np.ndarray, "image row column 3"],
    layer: int,
    head: int,
) -> "tuple[LayerMaps, ...]":
    """Those of one head, as few passes as memory allows; between two it can be stopped."""
    from ...analysis.maps import head_maps

    size = batch_size(checkpoint, layer)
    found: list[LayerMaps] = []
    for start in range(0, len(crops), size):
        job.report(start / len(crops), f"{start} of {len(crops)} images")
        found += head_maps(checkpoint, crops[start : start + size], layer, head)
    return tuple(found)


def batch_size(checkpoint: "Checkpoint", layer: int) -> int:
    """Images whose maps of all heads of a layer fit."""
    of = checkpoint.layers[layer]
    weights = of.n_heads * of.layout.query_tokens.size * of.layout.key_tokens.shape[1]
    return max(1, AT_ONCE_BYTES // (4 * weights))
