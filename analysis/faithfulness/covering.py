"""What covering cells of an image does to one number of the output."""

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.target import Target

PROBABILITY, SCORE = "probability", "score"
QUANTITIES = (PROBABILITY, SCORE)
"""What is read of the output: the target's probability, or its number as it is explained."""


def quantity_of(target: Target, given: str | None) -> str:
    """The quantity that is read: the probability where there are classes.

    Raises:
        HeadscopeError: there is no such quantity, or no class to have a probability.
    """
    if given is None:
        return SCORE if target.classes is None else PROBABILITY
    if given not in QUANTITIES:
        raise HeadscopeError(f"There is no quantity {given!r}; there are: {', '.join(QUANTITIES)}.")
    if given == PROBABILITY and target.classes is None:
        raise HeadscopeError(f"A {target.words} has no probability; take quantity='score'.")
    return given


def reading(
    target: Target,
    output: Float[Tensor, "variant output"],
    images: Int[Tensor, " variant"],
    quantity: str,
) -> Float[np.ndarray, " variant"]:
    """The quantity of each variant, in float64.

    The probability of one class against another is the one that the two have between them.
    """
    output = output.double()
    if quantity == SCORE:
        read = target.score(output, images)
    elif target.against is not None:
        read = target.score(output, images).sigmoid()
    else:
        assert target.classes is not None
        read = output.softmax(-1).gather(-1, target.classes[images, None])[:, 0]
    return read.cpu().numpy()


@final
class Covering:
    """v(S): a number for an image with a set S of its cells covered.

    Each image is covered by its own fill; sets of many images run together in batches.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        batch: Float[Tensor, "image channel row column"],
        target: Target,
        *,
        grid: tuple[int, int] | None = None,
        fill: str = "mean",
        quantity: str | None = None,
        batch_size: int = 64,
    ) -> None:
        checkpoint.check_batch(batch)
        self.checkpoint, self.target = checkpoint, target
        self.grid = grid or grid_of(checkpoint)
        self.quantity = quantity_of(target, quantity)
        self._batch, self._fill = batch, filled(batch, fill, self.grid)
        self._batch_size = batch_size

    @property
    def n_images(self) -> int:
        return len(self._batch)

    def __call__(
        self,
        masks: Bool[np.ndarray, "variant row column"],
        images: Int[np.ndarray, " variant"],
        progress: Callable[[float], None] | None = None,
    ) -> Float[np.ndarray, " variant"]:
        """v of each variant: the cells that are covered, and of which image."""
        found = []
        for start in range(0, len(masks), self._batch_size):
            part = slice(start, start + self._batch_size)
            of = torch.from_numpy(images[part]).to(self._batch.device)
            hidden = torch.from_numpy(pixels_of(masks[part], self._batch.shape[-2:]))
            variants = torch.where(
                hidden[:, None].to(self._batch.device), self._fill[of], self._batch[of]
            )
            output = self.checkpoint.run(variants)
            found.append(reading(self.target, output, of, self.quantity))
            if progress is not None:
                progress(min(part.stop, len(masks)) / len(masks))
        return np.concatenate(found)


def pixels_of(
    masks: Bool[np.ndarray, "variant row column"], size: tuple[int, ...]
) -> Bool[np.ndarray, "variant height width"]:
    """Masks of cells as masks of pixels; a pixel belongs to the cell that its centre is in."""
    rows, columns = (
        (np.arange(pixels) * 2 + 1) * cells // (2 * pixels)
        for pixels, cells in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows[:, None], columns]


def grid_of(checkpoint: Checkpoint) -> tuple[int, int]:
    """The cells that are covered: the finest patches of at most 16 rows and columns, if any."""
    grids = {
        layer.layout.queries.grid
        for layer in checkpoint.layers
        if layer.layout.queries.n_patches > 1 and layer.layout.queries.scattered is None
    }
    fine = [grid for grid in grids if max(grid) <= 16]
    if fine:
        return max(fine, key=lambda grid: grid[0] * grid[1])
    return min(grids, key=lambda grid: grid[0] * grid[1], default=(14, 14))


def filled(
    batch: Float[Tensor, "image channel row column"], fill: str, grid: tuple[int, int]
) -> Float[Tensor, "image channel row column"]:
    """What covered cells show."""
    if fill == "mean":
        return batch.mean((-2, -1), keepdim=True).expand_as(batch)
    if fill == "blur":
        sigma = [pixels / cells for pixels, cells in zip(batch.shape[-2:], grid, strict=True)]
        blurred = gaussian_filter(batch.double().cpu().numpy(), (0, 0, *sigma))
        return torch.from_numpy(blurred).to(batch)
    raise HeadscopeError(f"There is no fill {fill!r}; there are: mean, blur.")
