"""A picture as a checkpoint sees it: predictions and attention maps of one forward pass."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:  # both import torch; the page shows its frame first
    from .. import AttentionMaps, Checkpoint


@dataclass(frozen=True, eq=False)
class Look:
    """What one forward pass says about one image."""

    digest: str
    """Of the checkpoint and the crop."""
    checkpoint: "Checkpoint"
    crop: UInt8[np.ndarray, "row column 3"]
    probabilities: Float[np.ndarray, " label"] | None
    maps: "AttentionMaps"


@dataclass(frozen=True)
class Wanted:
    """A head whose map the browser asks for, and a query for the maps of all heads."""

    layer: int
    head: int
    tokens: tuple[int | None, ...]
    """The query token of each layer; None: the mean over queries."""

    @classmethod
    def told(cls, told: Any, look: Look) -> "Wanted | None":
        """What a browser says, unless it is about what is not there."""
        try:
            layer, head = int(told["layer"]), int(told["head"])
            tokens = tuple(None if token is None else int(token) for token in told["tokens"])
            layers = look.maps.layers
            there = layer >= 0 and 0 <= head < len(layers[layer].mean)
            for of, token in zip(layers, tokens, strict=True):
                there &= token is None or 0 <= token < of.layout.queries.n_tokens
        except (TypeError, KeyError, ValueError, IndexError):
            return None
        return cls(layer, head, tokens) if there else None


def look_bytes(look: Look) -> int:
    """What a look holds in memory."""
    return look.maps.n_bytes
