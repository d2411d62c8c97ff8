"""Remove and debias: cells are removed by what their neighbours say, which leaves no trace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse import linalg
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid, cell_grid, first_cells, ranking
from ..explain.target import Target
from .cells import Maps, checked
from .covering import quantity_of, reading

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of the cells that are removed."""
NOISE = 0.01
"""Standard deviation of what is added to imputed pixels, in units of the model's input."""

_WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
"""Of the neighbours on one side; those on the other side weigh the same."""


@final
@dataclass(frozen=True, eq=False)
class Road:
    """What the score is when a share of the cells is imputed, by both ends of the order."""

    share: Float[np.ndarray, " share"]
    most_first: Float[np.ndarray, "image share"]
    """The most relevant cells are removed: falls early for a faithful map."""
    least_first: Float[np.ndarray, "image share"]
    quantity: str

    @property
    def score(self) -> Float[np.ndarray, " image"]:
        """Mean over shares of least − most; 0 for an order by lot, larger = more faithful."""
        return (self.least_first - self.most_first).mean(1)


def road(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    maps: Maps,
    target: Target,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = NOISE,
    grid: CellGrid | None = None,
    quantity: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Road:
    """Remove the most, and the least, relevant cells by noisy linear imputation.

    Covering with a colour tells the model where something was covered; a pixel that is the mean of
    its neighbours does not. Rong et al., ICML 2022 (arXiv 2202.00449), section 4.2; the difference
    of both orders as in its section 5. Whole cells are removed, not single pixels; the quantity is
    the target's probability (or score) and not the accuracy, so that each image has a number.

    Raises:
        HeadscopeError: a share that removes nothing or everything, or maps that do not fit.
    """
    maps = checked(maps, len(batch))
    if not shares or not all(0 < share < 1 for share in shares):
        raise HeadscopeError(
            f"The shares {tuple(shares)} must lie between 0 and 1, both left out: where all is "
            "removed there is no neighbour left."
        )
    grid = grid or cell_grid(checkpoint)
    quantity = quantity_of(target, quantity)
    order = ranking(grid.means(maps), seed=seed)
    n_covered = [min(max(round(share * order.shape[1]), 1), order.shape[1] - 1) for share in shares]
    values = np.empty((2, len(shares), len(batch)))
    images = np.arange(len(batch))
    for side, of_side in enumerate((order, order[:, ::-1])):
        for step, n in enumerate(n_covered):
            masks = grid.pixels(first_cells(of_side, n, grid)).numpy()
            for start in range(0, len(batch), batch_size):
                part = slice(start, start + batch_size)
                imputed = torch.stack(
                    [
                        impute(batch[i], masks[i], noise=noise, seed=(seed, int(i), step, side))
                        for i in images[part]
                    ]
                )
                output = checkpoint.run(imputed)
                rows = torch.from_numpy(images[part]).to(output.device)
                values[side, step, part] = reading(target, output, rows, quantity)
                if progress is not None:
                    done = side * len(shares) + step + min(part.stop, len(batch)) / len(batch)
                    progress(done / (2 * len(shares)))
    share = np.array(n_covered) / order.shape[1]
    return Road(share, values[0].T, values[1].T, quantity)


def impute(
    image: Float[Tensor, "channel row column"],
    removed: Bool[np.ndarray, "row column"],
    *,
    noise: float = NOISE,
    seed: int | Sequence[int] = 0,
) -> Float[Tensor, "channel row column"]:
    """An image whose removed pixels are each the weighted mean of their neighbours, plus noise.

    x_i = Σ_j w_ij x_j / Σ_j w_ij over the eight neighbours in the image, w = 1/6 beside and 1/12
    across a corner: one sparse system for all removed pixels at once.
    """
    if not removed.any():
        return image.clone()
    pixels = image.detach().double().cpu().flatten(1).numpy().T.copy()
    gone = removed.ravel()
    if gone.all():
        raise HeadscopeError("All pixels are removed: nothing is left to impute them from.")
    rows = _laplacian(*removed.shape)[gone]
    right = -rows[:, ~gone] @ pixels[~gone]
    solved = linalg.splu(
        rows[:, gone].tocsc(),
        # Symmetric and positive: no pivots are needed, and this order fills in least.
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    ).solve(right)
    drawn = np.random.default_rng(seed).standard_normal(solved.shape)
    pixels[gone] = solved + noise * drawn
    return torch.from_numpy(pixels.T.reshape(image.shape)).to(image)


@lru_cache(maxsize=4)
def _laplacian(height: int, width: int) -> sparse.csr_matrix:
    """`pixel pixel`: Σ_j w_ij (x_i − x_j) over the neighbours j of each pixel."""
    index = np.arange(height * width).reshape(height, width)
    starts, ends, weights = [], [], []
    for (down, right), weight in _WEIGHTS.items():
        here = index[: height - down, max(0, -right) : width - max(0, right)]
        there = index[down:, max(0, right) : width - max(0, -right)]
        starts += [here.ravel(), there.ravel()]
        ends += [there.ravel(), here.ravel()]
        weights += [np.full(2 * here.size, weight)]
    shape = (height * width, height * width)
    near = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(starts), np.concatenate(ends))), shape
    )
    return sparse.csr_matrix(sparse.diags(np.asarray(near.sum(1)).ravel()) - near)
