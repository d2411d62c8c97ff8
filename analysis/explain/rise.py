"""RISE."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import Answer, Option, Question, explanation
from .perturbing import filling
from .variants import ROWS

EXPECTED, DRAWN = "expected", "drawn"


@explanation(
    long_name="RISE",
    signed=False,
    slow=True,
    masks=Option("random masks", least=2, most=100_000),
    cells=Option("cells of a mask along each axis", least=2, most=64),
    visible=Option("chance that a cell is visible", least=0.01, most=0.99),
    fill=Option(
        "what is seen where a mask hides: the mean colour (0 of the model's input), the image "
        "blurred, or black",
        choices=("mean", "blur", "black"),
    ),
    weighting=Option(
        "what the masked scores are divided by: what masks let through on average, as in the "
        "paper, or what those drawn let through at the pixel",
        choices=(EXPECTED, DRAWN),
    ),
)
def rise(
    question: Question,
    *,
    masks: int = 1000,
    cells: int = 7,
    visible: float = 0.5,
    fill: str = "mean",
    weighting: str = EXPECTED,
) -> Answer:
    """The mean score when a pixel is visible: V(λ) = 1/(p n) Σᵢ S(x ⊙ Mᵢ) Mᵢ(λ) over n random
    masks, in units of the score; high where seeing the pixel goes with a high score, and only
    differences within a map mean something. Masks are grids of cells that are visible with chance
    p, made large bilinearly and shifted by lot. An estimate: the note says how sure. "drawn"
    divides by Σᵢ Mᵢ(λ) in the place of p n, so that a constant score gives a flat map: steadier
    for logits, which have no zero of their own. Every image has the same masks, by the seed.
    Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation" (2018), equation 6;
    they mask with black or the mean colour, take probabilities, and ours is the target's score.
    """
    drawn = RandomMasks.draw(
        question.checkpoint.preprocessing.size, masks, cells, visible, question.seed
    )
    batch = question.batch
    filled = filling(question.checkpoint, batch, fill)
    estimate = Estimate(len(batch), drawn.size)
    n_images, at_once = len(batch), max(1, ROWS // len(batch))
    for which in torch.arange(masks).split(at_once):
        shown = drawn.at(which)
        # Mask by mask, images within.
        mask = shown.to(batch).repeat_interleave(n_images, 0)[:, None]
        images = torch.arange(n_images, device=batch.device).repeat(len(which))
        seen = mask * batch[images] + (1 - mask) * filled[images]
        scores = question.target.score(question.checkpoint.run(seen), images)
        estimate.add(scores.cpu().double().view(len(which), n_images), shown)
        question.tell((int(which[-1]) + 1) / masks)
    values, error = estimate.values(visible, weighting)
    spread = values.std((1, 2))
    note = (
        f"From {masks:,} masks: the Monte-Carlo standard error of a pixel is {error.mean():.2g} on "
        "average"
    )
    if (spread > 0).all():  # else a map is flat, and there is nothing to compare with
        share = np.median(error.mean((1, 2)) / spread)
        note += f", {share:.0%} of the map's own standard deviation (median over images)"
    return Answer(values, where=f"{cells}×{cells} cells, shifted", notes=(f"{note}.",))


@dataclass(frozen=True, eq=False)
class RandomMasks:
    """Random masks, small until they are used: cells, and by how far each is shifted."""

    cells: Float[Tensor, "mask row column"]
    """1 where visible; one row and column more than asked for, which a shift brings in."""
    shifts: Int[Tensor, "mask 2"]
    """Down and right, in pixels, less than a cell."""
    size: tuple[int, int]
    cell_px: tuple[int, int]

    @classmethod
    def draw(
        cls, size: tuple[int, int], n: int, n_cells: int, visible: float, seed: int
    ) -> "RandomMasks":
        """The same for a seed, however they are used."""
        generator = torch.Generator().manual_seed(seed)
        height, width = size
        # ⌈H / h⌉, where the paper has ⌊H / h⌋: else h + 1 cells may not cover a shifted image.
        cell_px = -(-height // n_cells), -(-width // n_cells)
        chance = torch.rand(n, n_cells + 1, n_cells + 1, generator=generator)
        down, right = (torch.randint(0, px, (n,), generator=generator) for px in cell_px)
        return cls((chance < visible).double(), torch.stack([down, right], 1), size, cell_px)

    def at(self, which: Int[Tensor, " mask"]) -> Float[Tensor, "mask row column"]:
        """Masks of the image's size, 0…1."""
        height, width = self.size
        n_rows, n_columns = self.cells.shape[1:]
        large = torch.nn.functional.interpolate(
            self.cells[which][:, None],
            size=(n_rows * self.cell_px[0], n_columns * self.cell_px[1]),
            mode="bilinear",
            align_corners=False,
        )[:, 0]
        return torch.stack(
            [
                mask[down : down + height, right : right + width]
                for mask, (down, right) in zip(large, self.shifts[which].tolist(), strict=True)
            ]
        )


class Estimate:
    """Sums over masks, from which the map and its standard error follow."""

    def __init__(self, n_images: int, size: tuple[int, int]) -> None:
        self._n = 0
        self._score_mask = np.zeros((n_images, *size))
        self._score2_mask2 = np.zeros((n_images, *size))
        self._score_mask2 = np.zeros((n_images, *size))
        self._mask, self._mask2 = np.zeros(size), np.zeros(size)

    def add(
        self, scores: Float[Tensor, "mask image"], masks: Float[Tensor, "mask row column"]
    ) -> None:
        """The score of each image under some more masks."""
        s, m = scores.cpu().numpy(), masks.cpu().double().numpy()
        self._n += len(s)
        self._mask += m.sum(0)
        self._mask2 += (m**2).sum(0)
        self._score_mask += np.einsum("mi,mrc->irc", s, m)
        self._score_mask2 += np.einsum("mi,mrc->irc", s, m**2)
        self._score2_mask2 += np.einsum("mi,mrc->irc", s**2, m**2)

    def values(
        self, visible: float, weighting: str
    ) -> tuple[Float[np.ndarray, "image row column"], Float[np.ndarray, "image row column"]]:
        """The map, and the standard error of each of its values over the draw of masks."""
        n = self._n
        if weighting == EXPECTED:
            mean = self._score_mask / n
            variance = np.maximum(self._score2_mask2 / n - mean**2, 0) * n / (n - 1)
            return mean / visible, np.sqrt(variance / n) / visible
        # A ratio of means: its error by linearisation, that of (S − V) M over the mean of M.
        through = np.maximum(self._mask, np.finfo(float).tiny)
        values = self._score_mask / through
        squares = self._score2_mask2 - 2 * values * self._score_mask2 + values**2 * self._mask2
        return values, np.sqrt(np.maximum(squares, 0) * n / (n - 1)) / through
