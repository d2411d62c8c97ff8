"""What covering cells of an image does to one number of the output."""

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid, cell_grid, cover, filling
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
        grid: CellGrid | None = None,
        fill: str = "mean",
        quantity: str | None = None,
        batch_size: int = 64,
    ) -> None:
        checkpoint.check_batch(batch)
        self.checkpoint, self.target = checkpoint, target
        self.grid = grid or cell_grid(checkpoint)
        self.quantity = quantity_of(target, quantity)
        self._batch, self._fill = batch, filling(checkpoint, batch, fill)
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
            covered = torch.from_numpy(masks[part])
            variants = cover(self._batch[of], covered, self._fill[of], self.grid)
            output = self.checkpoint.run(variants)
            found.append(reading(self.target, output, of, self.quantity))
            if progress is not None:
                progress(min(part.stop, len(masks)) / len(masks))
        return np.concatenate(found)
