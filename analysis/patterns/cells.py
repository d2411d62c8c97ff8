"""Cells of a fixed number along an axis, whatever the number of patches."""

import numpy as np
from jaxtyping import Float


def grid_cells(n: int, side: int) -> Float[np.ndarray, "place cell"]:
    """Which part of each of `n` places on an axis lies in which of `side` cells; rows sum to 1."""
    return np.stack([overlap(index, n, side) for index in range(n)])


def overlap(index: int, n: int, side: int) -> Float[np.ndarray, " cell"]:
    """Which part of place `index` of `n` lies in which of `side` cells; sums to 1."""
    low, high = index / n, (index + 1) / n
    edges = np.arange(side + 1) / side
    part = np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1])
    return np.maximum(part, 0) * n
