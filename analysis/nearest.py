"""Which heads do most nearly what a head does."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

PAIRS = ("layer", "head", "layer_2", "head_2")
"""Dimensions of a number of two heads."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The most similar heads of every head, the most similar first."""

    heads: Int[np.ndarray, "layer head place 2"]
    """Layer and head; −1 where there is no other that the head can be compared with."""
    values: Float[np.ndarray, "layer head place"]
    """Their similarity; NaN there."""


def nearest_heads(
    similarity: Float[np.ndarray, "layer head layer_2 head_2"], n: int = 3
) -> Nearest:
    """The `n` heads of the largest similarity to each, itself left out; ties by place.

    NaN is no similarity: heads that a layer does not have, and pairs that cannot be compared.
    """
    n_layers, n_heads = similarity.shape[:2]
    n_all = n_layers * n_heads
    flat = np.array(similarity, float).reshape(n_all, n_all)
    np.fill_diagonal(flat, np.nan)
    n = min(n, n_all)
    order = np.argsort(-np.where(np.isnan(flat), -np.inf, flat), axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(flat, order, axis=1)
    heads = np.stack(np.divmod(order, n_heads), axis=-1)
    heads[np.isnan(values)] = -1
    return Nearest(heads.reshape(n_layers, n_heads, n, 2), values.reshape(n_layers, n_heads, n))
