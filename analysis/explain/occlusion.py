"""Occlusion."""

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ...models.errors import HeadscopeError
from .base import Answer, Option, Question, explanation
from .perturbing import CellGrid, cell_grid, cover, filling
from .variants import score_variants


@explanation(
    long_name="Occlusion",
    signed=True,
    slow=True,
    size=Option("height and width of what is covered at once, in cells", least=1, most=16),
    stride=Option("cells from one covered place to the next", least=1, most=16),
    fill=Option(
        "what covers: the mean colour (0 of the model's input), the image blurred, or black",
        choices=("mean", "blur", "black"),
    ),
)
def occlusion(question: Question, *, size: int = 1, stride: int = 1, fill: str = "mean") -> Answer:
    """By how much the score falls when a place is covered: S(x) − S(x covered), in units of the
    score. Signed: negative where the score rises. The place is `size` × `size` cells and goes over
    the image by `stride`, the last one flush with the border; a cell's value is the mean over the
    places that hold it. Cells are the model's patches, or several where there are more than 16
    along an axis. Parts that stand in for one another show little, as only one place is covered at
    a time. Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014),
    section 4.2, who move a grey square in pixels.
    """
    grid = cell_grid(question.checkpoint)
    places = covered_places(grid, size, stride)
    filled = filling(question.checkpoint, question.batch, fill)
    before = question.target.score(question.output).cpu().double()

    def variant(images: Tensor, places_of: Tensor) -> Tensor:
        cells = places[places_of.cpu()]
        return cover(question.batch[images], cells, filled[images], grid)

    after = score_variants(question, variant, len(places))
    drop = (before[:, None] - after).numpy()
    weights = places.double().flatten(1)
    values = drop @ (weights / weights.sum(0)).numpy()
    return Answer(
        values.reshape(-1, *grid.shape), where=f"{grid.shape[0]}×{grid.shape[1]} cells covered"
    )


def covered_places(
    grid: CellGrid, size: int, stride: int
) -> Bool[Tensor, "place cell_row cell_column"]:
    """The cells of each place that is covered; together they are the whole grid.

    Raises:
        HeadscopeError: some cells would never be covered.
    """
    if stride > size:
        raise HeadscopeError(
            f"Steps of {stride} cells leave some uncovered when {size} are covered at once; "
            f"choose a stride up to {size}."
        )
    starts = [
        sorted({*range(0, max(1, n - size + 1), stride), max(0, n - size)}) for n in grid.shape
    ]
    places = np.zeros((len(starts[0]), len(starts[1]), *grid.shape), bool)
    for i, row in enumerate(starts[0]):
        for j, column in enumerate(starts[1]):
            places[i, j, row : row + size, column : column + size] = True
    return torch.from_numpy(places).flatten(0, 1)
