"""Heads of known patterns, with noise so that no two are alike."""

import numpy as np

from ...conftest import PATCH_PX, six_maps

NOISE = 0.1
"""Share of a random map that is mixed into each."""
NAMES = ["self", "left neighbour", "uniform", "row", "class token", "fixed sink"]
"""Of the patterns that the six heads are to be found to have."""


def noisy_maps(n, *, grid=(4, 4), sink=5, seed=0):
    """`n` versions of each of the six maps, all six and then again."""
    generator = np.random.default_rng(seed)
    return [
        (1 - NOISE) * each + NOISE * generator.dirichlet(np.ones(len(each)), len(each))
        for _ in range(n)
        for each in six_maps(grid, sink)
    ]


def noise_images(n, grid=(4, 4), *, seed=0):
    size = (n, grid[0] * PATCH_PX, grid[1] * PATCH_PX, 3)
    return list(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))
