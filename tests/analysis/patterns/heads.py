"""Heads of known patterns, with noise so that no two are alike."""

import dataclasses

import numpy as np

from headscope.analysis.patterns import join
from headscope.analysis.patterns.gathering import maps_of_images

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


def maps_over_images(of_maps, n_images, n_versions, *, grid=(4, 4), sink=5, seed=0):
    """Maps of heads whose noise is another one in each image, as one checkpoint's."""
    parts = [
        maps_of_images(
            of_maps(
                noisy_maps(n_versions, grid=grid, sink=sink, seed=100 * seed + image),
                grid=grid,
                depth=1,
            ),
            noise_images(1, grid),
        )
        for image in range(n_images)
    ]
    joined = join(parts)
    origin = dataclasses.replace(
        parts[0].origins[0], images=tuple(f"image {image}" for image in range(n_images))
    )
    return dataclasses.replace(
        joined, origin=np.zeros(len(joined), int), image=joined.origin, origins=(origin,)
    )


def noise_images(n, grid=(4, 4), *, seed=0):
    size = (n, grid[0] * PATCH_PX, grid[1] * PATCH_PX, 3)
    return list(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))
