"""Deletion and insertion: what happens to the score when cells go in the order of a map."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid, first_cells, ranking
from ..explain.target import Target
from .cells import Maps, checked
from .covering import Covering

STEPS = 18
"""Steps of a curve, by default: 8 cells of 144 each."""


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """The quantity against the share of cells that are covered, by both ends of the order."""

    share: Float[np.ndarray, " step"]
    """Of the cells covered: from 0, the image as it is, to 1, all covered."""
    most_first: Float[np.ndarray, "image step"]
    """The most relevant cells go first."""
    least_first: Float[np.ndarray, "image step"]
    """The least relevant cells go first."""
    quantity: str
    fill: str

    @property
    def insertion(self) -> Float[np.ndarray, "image step"]:
        """From all covered, the most relevant cells come back first; over the share shown.

        With one fill, an image that has its n most relevant cells is one that lacks all others:
        the curve of the least relevant first, read backwards.
        """
        return self.least_first[:, ::-1]

    @property
    def share_shown(self) -> Float[np.ndarray, " step"]:
        """The share that belongs to `insertion`."""
        return 1 - self.share[::-1]

    @property
    def deletion_area(self) -> Float[np.ndarray, " image"]:
        """Area under the curve of the most relevant first; small for a faithful map."""
        return np.trapezoid(self.most_first, self.share, axis=1)

    @property
    def insertion_area(self) -> Float[np.ndarray, " image"]:
        """Area under `insertion`; large for a faithful map."""
        return np.trapezoid(self.insertion, self.share_shown, axis=1)

    @property
    def difference(self) -> Float[np.ndarray, " image"]:
        """Insertion − deletion: the area between both orders; 0 on average for an order by lot."""
        return self.insertion_area - self.deletion_area


def deletion_insertion(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    maps: Maps,
    target: Target,
    *,
    steps: int = STEPS,
    fill: str = "mean",
    grid: CellGrid | None = None,
    quantity: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Curves:
    """Cover the cells of each image in the order of its map, from both ends.

    The map is averaged over each cell; ties are broken by lot, alike for all images.
    Petsiuk et al., BMVC 2018 (arXiv 1806.07421), section 4.1, by cells of the patch grid and not
    by pixels: a network that reads patches should lose whole ones. Both orders after Samek et al.,
    IEEE TNNLS 28 (2017).

    Args:
        checkpoint: from `load`.
        batch: ready for the model.
        maps: one for each image, on any grid.
        target: what the maps explain.
        steps: of the curve; no more than there are cells.
        fill: what covered cells show; see `filling`.
        grid: of the cells; by default whole patches, at most 16 along an axis.
        quantity: "probability" (of classes, the default) or "score".
        batch_size: variants in one pass.
        seed: of ties.
        progress: told the share that is done; whatever it raises stops the work.

    Raises:
        HeadscopeError: maps, steps, fill or quantity do not fit.
    """
    maps = checked(maps, len(batch))
    if steps < 1:
        raise HeadscopeError(f"A curve of {steps} steps has no area; give at least 1.")
    covering = Covering(
        checkpoint,
        batch,
        target,
        grid=grid,
        fill=fill,
        quantity=quantity,
        batch_size=batch_size,
    )
    order = ranking(covering.grid.means(maps), seed=seed)
    n_cells = order.shape[1]
    # Rounded steps are as even as may be; the area is over the true shares.
    n_covered = np.unique(np.round(np.linspace(0, n_cells, steps + 1)).astype(int))
    inner = n_covered[1:-1]
    sides = [
        first_cells(of_side, int(n), covering.grid).numpy()
        for of_side in (order, order[:, ::-1])
        for n in inner
    ]
    # Nothing covered and all covered are the same for every order.
    nothing = np.zeros((len(batch), *covering.grid.shape), bool)
    masks = np.concatenate([nothing, ~nothing, *sides])
    images = np.tile(np.arange(len(batch)), len(masks) // len(batch))
    values = covering(masks, images, progress).reshape(-1, len(batch)).T
    first, last, between = values[:, :1], values[:, 1:2], values[:, 2:]
    most, least = between[:, : len(inner)], between[:, len(inner) :]
    return Curves(
        share=n_covered / n_cells,
        most_first=np.hstack([first, most, last]),
        least_first=np.hstack([first, least, last]),
        quantity=covering.quantity,
        fill=fill,
    )
