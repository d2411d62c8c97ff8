"""What counts as maps, and maps on a grid of another size."""

import numpy as np
from jaxtyping import Float

from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid

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
            "finite values."
        )
    return maps


def onto(maps: Maps, grid: tuple[int, int]) -> Maps:
    """The mean of a map over each cell of another grid, finer or coarser.

    Parts of cells count by their area, so that the mean over the image stays what it was.
    """
    if maps.shape[1:] == grid:
        return maps
    rows, columns = (tuple(range(n + 1)) for n in grid)
    return CellGrid(rows, columns).means(maps)
