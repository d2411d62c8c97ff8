"""Maps brought to the cells that are covered, and the order in which a map covers them."""

import numpy as np
from jaxtyping import Float, Int

from ...models.errors import HeadscopeError

Maps = Float[np.ndarray, "image row column"]


def checked(maps: Maps, n_images: int, *, name: str = "The map") -> Maps:
    """Maps in float64, one for each image.

    Raises:
        HeadscopeError: they are not, or have places without a number.
    """
    maps = np.asarray(maps, np.float64)
    if maps.ndim != 3 or len(maps) != n_images or 0 in maps.shape:
        raise HeadscopeError(
            f"{name} has the shape {maps.shape}; expected (images, rows, columns) for "
            f"{n_images} image(s)."
        )
    if not np.isfinite(maps).all():
        bad = int((~np.isfinite(maps)).any((1, 2)).sum())
        raise HeadscopeError(
            f"{name} has places that are no numbers in {bad} of {n_images} image(s); expected "
            "finite values: a map without a value has no order."
        )
    return maps


def onto(maps: Maps, grid: tuple[int, int]) -> Maps:
    """The mean of a map over each cell of another grid, finer or coarser.

    Parts of cells count by their area, so that the mean over the image stays what it was.
    """
    if maps.shape[1:] == grid:
        return maps
    rows, columns = _shares(maps.shape[1], grid[0]), _shares(maps.shape[2], grid[1])
    return rows @ maps @ columns.T


def _shares(n_from: int, n_to: int) -> Float[np.ndarray, "to of"]:
    """Which share of the length of each new cell lies in each old one."""
    # In whole numbers: an equal grid gives the identity to the bit.
    old, new = np.arange(n_from) * n_to, np.arange(n_to)[:, None] * n_from
    shared = np.minimum(old + n_to, new + n_from) - np.maximum(old, new)
    return np.clip(shared, 0, None) / n_from


def orders(maps: Maps, *, seed: int) -> Int[np.ndarray, "image cell"]:
    """The cells of each image, row by row, the most relevant first; ties by lot.

    The lot is drawn by the seed and the image's index, so that it does not hang on batches. The
    least relevant first is the same order read backwards.
    """
    n_cells = maps[0].size
    return np.stack(
        [
            np.lexsort((np.random.default_rng((seed, image)).permutation(n_cells), -of.ravel()))
            for image, of in enumerate(maps)
        ]
    )


def covered(
    order: Int[np.ndarray, "image cell"], n_covered: int, grid: tuple[int, int]
) -> np.ndarray:
    """`image row column`: the first cells of each order."""
    mask = np.zeros(order.shape, bool)
    np.put_along_axis(mask, order[:, :n_covered], values=True, axis=1)
    return mask.reshape(-1, *grid)
