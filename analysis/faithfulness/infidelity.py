"""Infidelity and max-sensitivity, by captum, over cells."""

import copy
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid, cell_grid
from .cells import Maps, checked
from .covering import Covering
from .explainers import Explainer

N_SQUARES, N_SHIFTS = 64, 10
"""Perturbations of each image, by default, for infidelity and for sensitivity."""
RADIUS = 0.1
"""Largest shift of a cell, in units of the model's input (1: a standard deviation of its data)."""


@final
class Squares:
    """Squares of cells to cover, and what covering each does: drawn once for all methods.

    Square removal of Yeh et al., section 3.2: sides even from 1 cell to half of the shorter side,
    each place as likely, the same for a given seed and image whatever the batch.
    """

    def __init__(self, covering: Covering, *, n_squares: int = N_SQUARES, seed: int = 0) -> None:
        if n_squares < 2:
            raise HeadscopeError(f"{n_squares} square(s) are too few; give at least 2.")
        self.n_images, self.n_squares, self.grid = covering.n_images, n_squares, covering.grid
        self.masks: Bool[np.ndarray, "image square row column"] = np.stack(
            [
                _squares(np.random.default_rng((seed, image)), n_squares, self.grid.shape)
                for image in range(self.n_images)
            ]
        )
        self._covering = covering
        self._found: tuple[np.ndarray, np.ndarray] | None = None

    def run(
        self, progress: Callable[[float], None] | None = None
    ) -> tuple[Float[np.ndarray, " image"], Float[np.ndarray, "image square"]]:
        """The quantity of each image as it is, and with each square covered; computed once."""
        if self._found is None:
            nothing = np.zeros((self.n_images, 1, *self.grid.shape), bool)
            masks = np.concatenate([nothing, self.masks], axis=1).reshape(-1, *self.grid.shape)
            images = np.repeat(np.arange(self.n_images), self.n_squares + 1)
            values = self._covering(masks, images, progress).reshape(self.n_images, -1)
            self._found = values[:, 0], values[:, 1:]
        return self._found

    def first(self, n_images: int) -> "Squares":
        """The same squares of the first images; what is known of them stays known."""
        some = copy.copy(self)
        some.n_images, some.masks = n_images, self.masks[:n_images]
        if self._found is not None:
            clean, covered = self._found
            some._found = clean[:n_images], covered[:n_images]
        return some


def infidelity(
    squares: Squares, maps: Maps, *, progress: Callable[[float], None] | None = None
) -> Float[np.ndarray, " image"]:
    """Share of what covering squares does that the sums of the map within them do not tell, 0…1.

    min over β ≥ 0 of E[(β Σ_S map − (v(∅) − v(S)))²] / E[(v(∅) − v(S))²] over squares S: 0 where
    the drop of the score is the map's sum, to scale; 1 where the map tells no more than a map of
    zeros. NaN where no square changes the score. Yeh et al., NeurIPS 2019 (arXiv 1901.09392),
    equation 3, by `captum.metrics.infidelity` with `normalize=True` (the best β). We deviate: the
    variable is which cells are covered, so that I is 1 on a covered cell; a best β below 0 is
    taken as 0, as such a map points the wrong way; and the division makes images comparable.
    """
    from captum.metrics import infidelity as of_captum

    grid, n_images = squares.grid, squares.n_images
    cells = grid.means(checked(maps, n_images))
    clean, covered = squares.run(progress)
    # captum asks for the drawn perturbations, and for the score of each: both are known.
    masks = torch.from_numpy(squares.masks.reshape(-1, *grid.shape).astype(np.float64))
    known = {n_images: torch.from_numpy(clean), len(masks): torch.from_numpy(covered.ravel())}
    found = of_captum(
        lambda shown: known[len(shown)],
        lambda shown: (masks, shown - masks),
        torch.ones(n_images, *grid.shape, dtype=torch.float64),
        torch.from_numpy(cells),
        n_perturb_samples=squares.n_squares,
        normalize=True,
    ).numpy()
    drops = clean[:, None] - covered
    of_nothing = (drops**2).mean(1)
    sums = np.einsum("nrc,nsrc->ns", cells, squares.masks)
    found = np.where((sums * drops).sum(1) > 0, found, of_nothing)
    share = np.divide(found, of_nothing, out=np.full(n_images, np.nan), where=of_nothing > 0)
    return np.clip(share, 0, 1)  # rounding alone may leave the range


def max_sensitivity(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    explainer: Explainer,
    *,
    radius: float = RADIUS,
    n_shifts: int = N_SHIFTS,
    grid: CellGrid | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Float[np.ndarray, " image"]:
    """How far a map moves when each cell of the image is made a little brighter or darker.

    max over shifts of |map(x + shift) − map(x)| / |map(x)| (Euclidean); from 0, small is better,
    1 is as far as the map is long. Each cell and channel is shifted by a number even between
    −radius and +radius. Yeh et al., NeurIPS 2019, definition 4, by `captum.metrics`. A map that
    knows nothing of the image has 0: read it beside the faithfulness scores, never alone.

    Raises:
        HeadscopeError: a radius or number that is not above 0.
    """
    from captum.metrics import sensitivity_max

    if radius <= 0 or n_shifts < 1:
        raise HeadscopeError(
            f"A radius of {radius:g} and {n_shifts} shifts move nothing; give numbers above 0."
        )
    n_images = len(batch)
    cells = grid or cell_grid(checkpoint)
    shape = (batch.shape[1], *cells.shape)
    asked = 0

    def shifted(inputs: tuple[Tensor, ...] | Tensor, radius: float) -> tuple[Tensor]:
        of = _only(inputs)
        # captum repeats each image as often as there are shifts at once: here, once.
        draws = [
            np.random.default_rng((seed, image, asked)).uniform(-radius, radius, shape)
            for image in range(n_images)
        ]
        return (of + cells.pixels(torch.from_numpy(np.stack(draws))).to(of),)

    def explained(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor]:
        nonlocal asked
        of = _only(inputs)
        maps = checked(explainer(checkpoint, of, np.arange(n_images)), n_images)
        asked += 1
        if progress is not None:
            progress(asked / (n_shifts + 1))
        return (torch.from_numpy(maps),)

    return sensitivity_max(
        explained,
        (batch,),
        perturb_func=shifted,
        perturb_radius=radius,
        n_perturb_samples=n_shifts,
        max_examples_per_batch=n_images,
    ).numpy()


def _squares(
    generator: np.random.Generator, n_squares: int, grid: tuple[int, int]
) -> Bool[np.ndarray, "square row column"]:
    masks = np.zeros((n_squares, *grid), bool)
    for mask in masks:
        side = generator.integers(1, max(min(grid) // 2, 1) + 1)
        top, left = (generator.integers(cells - side + 1) for cells in grid)
        mask[top : top + side, left : left + side] = True
    return masks


def _only(inputs: tuple[Tensor, ...] | Tensor) -> Tensor:
    """captum hands over what it was given, in a tuple or not."""
    return inputs if isinstance(inputs, Tensor) else inputs[0]
