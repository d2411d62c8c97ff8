"""Covering parts of images: the cells that are covered, and what stands in their place."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from .explain import Explanation

MOST_CELLS = 16
"""Along an axis, where nothing finer is asked for: 256 cells in all."""

_WITHOUT_PATCHES = 14
"""Cells along an axis for a model whose attention is on no grid: those of a ViT at 224 px."""

BLUR_SHARE = 1 / 20
"""Standard deviation of the blur, as a share of the shorter side: 11 px at 224 px. What is finer
than an object's outline is gone."""

FILLS = ("mean", "blur", "black", "noise", "image")
"""What a covered cell can show; see `filling`."""


@dataclass(frozen=True)
class CellGrid:
    """Rectangles that an image is divided into, by their edges in pixels of the model's input."""

    row_edges: tuple[int, ...]
    """Upper edge of each row of cells, then the image's height."""
    column_edges: tuple[int, ...]
    """Left edge of each column of cells, then the image's width."""

    def __post_init__(self) -> None:
        for edges in (self.row_edges, self.column_edges):
            if len(edges) < 2 or edges[0] != 0 or any(a >= b for a, b in pairwise(edges)):
                raise ValueError(f"edges must rise from 0, got {edges}")

    @property
    def shape(self) -> tuple[int, int]:
        """Cells as (rows, columns)."""
        return len(self.row_edges) - 1, len(self.column_edges) - 1

    @property
    def n_cells(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        return self.row_edges[-1], self.column_edges[-1]

    @cached_property
    def areas(self) -> Float[np.ndarray, "row column"]:
        """Share of the image that each cell has; sums to 1."""
        heights, widths = (np.diff(edges) for edges in (self.row_edges, self.column_edges))
        return np.outer(heights / self.size[0], widths / self.size[1])

    def pixels(self, cells: Tensor) -> Tensor:
        """What belongs to cells, `*lead row column`, as pixels have it."""
        row, column = (
            torch.from_numpy(np.repeat(np.arange(len(edges) - 1), np.diff(edges))).to(cells.device)
            for edges in (self.row_edges, self.column_edges)
        )
        return cells[..., row, :][..., column]

    def means(
        self, values: Float[np.ndarray, "image row column"]
    ) -> Float[np.ndarray, "image cell_row cell_column"]:
        """The mean of each cell over its area, of maps on cells of any other size.

        Σ overlap · value / area: exact for what is constant within the map's own cells. Nothing
        is smoothed.
        """
        values = np.asarray(values, np.float64)
        rows = _overlaps(self.row_edges, values.shape[-2])
        columns = _overlaps(self.column_edges, values.shape[-1])
        return rows @ values @ columns.T


def patch_grid(checkpoint: Checkpoint) -> CellGrid:
    """The patches of the first layer whose tokens lie on a grid; 14 × 14 cells if none do.

    What patches leave over at the lower and right border belongs to the last ones.
    """
    size = checkpoint.preprocessing.size
    for layer in checkpoint.layers:
        for tokens in (layer.layout.queries, layer.layout.keys):
            if tokens.n_patches and tokens.scattered is None:
                edges = (
                    _edges(np.arange(n) * px, whole)
                    for n, px, whole in zip(tokens.grid, tokens.patch_px, size, strict=True)
                )
                return CellGrid(*edges)
    return CellGrid(
        *(
            _edges(np.linspace(0, whole, min(whole, _WITHOUT_PATCHES), endpoint=False), whole)
            for whole in size
        )
    )


def cell_grid(checkpoint: Checkpoint, *, most: int = MOST_CELLS) -> CellGrid:
    """The cells in which images are perturbed: whole patches, at most `most` along an axis.

    A patch grid that is no finer is taken as it is. Else n patches of an axis make ⌈n / f⌉ cells,
    f the least whole number for which these are at most `most`: 56 patches are 14 cells of 4, and
    37 (a prime) 13 cells of 2 or 3, as even as they can be.
    """
    patches = patch_grid(checkpoint)
    return CellGrid(*(_coarser(edges, most) for edges in (patches.row_edges, patches.column_edges)))


def cell_scores(
    explanation: Explanation | Float[np.ndarray, "image row column"], grid: CellGrid
) -> Float[np.ndarray, "image cell_row cell_column"]:
    """Any map on the cells of a grid, by area means: patches and pixels become comparable."""
    values = explanation.values if isinstance(explanation, Explanation) else explanation
    return grid.means(values)


def ranking(
    scores: Float[np.ndarray, "image row column"], *, seed: int = 0
) -> Int[np.ndarray, "image cell"]:
    """The cells of each image by their score, the largest first.

    Equal scores stand in an order drawn by the seed, the same for each image: a map of zeros must
    not read as "from the upper left". Where there is no score (NaN), last.
    """
    flat = np.asarray(scores, np.float64).reshape(len(scores), -1)
    drawn = np.random.default_rng(seed).permutation(flat.shape[1])
    order = np.argsort(-flat[:, drawn], axis=1, kind="stable")  # NaN sorts last
    return drawn[order]


def first_cells(
    order: Int[np.ndarray, "image cell"], count: int | Int[np.ndarray, " image"], grid: CellGrid
) -> Bool[Tensor, "image row column"]:
    """True for the first `count` cells of each image's order."""
    ranks = np.argsort(order, axis=1)  # of a permutation, the inverse
    chosen = ranks < np.broadcast_to(count, len(order))[:, None]
    return torch.from_numpy(chosen.reshape(-1, *grid.shape))


def cover(
    images: Float[Tensor, "image channel row column"],
    cells: Bool[Tensor, "image cell_row cell_column"],
    fill: Float[Tensor, "#image channel row column"],
    grid: CellGrid,
) -> Float[Tensor, "image channel row column"]:
    """Images that show `fill` where a cell is True."""
    return torch.where(grid.pixels(cells.to(images.device))[:, None], fill, images)


def filling(
    checkpoint: Checkpoint,
    images: Float[Tensor, "image channel row column"],
    fill: str = "mean",
    *,
    others: Float[Tensor, "image channel row column"] | None = None,
    seed: int = 0,
) -> Float[Tensor, "image channel row column"]:
    """What each image shows where it is covered, as a whole image ready for the model.

    `"mean"`: 0 of the model's input, the mean colour that preprocessing takes away. `"blur"`: the
    image itself, blurred (`BLUR_SHARE`). `"black"`: black. `"noise"`: Gaussian, with the mean and
    deviation of the image's own channels, drawn by the seed and alike for all images.
    `"image"`: the image of the same place in `others`.

    Raises:
        HeadscopeError: there is no such fill, or no other image is given.
    """
    if fill == "mean":
        return torch.zeros_like(images)
    if fill == "blur":
        return blurred(images, BLUR_SHARE * min(checkpoint.preprocessing.size))
    if fill == "black":
        return black(checkpoint, images)
    if fill == "noise":
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64).to(images)
        deviation, mean = torch.std_mean(images, dim=(-2, -1), keepdim=True)
        return mean + deviation * drawn
    if fill == "image":
        if others is None or others.shape != images.shape:
            given = "none" if others is None else f"a tensor of {tuple(others.shape)}"
            raise HeadscopeError(
                f"To fill with other images takes one for each of {tuple(images.shape)}; got "
                f"{given}."
            )
        return others.to(images)
    raise HeadscopeError(f"There is no fill {fill!r}; there are: {', '.join(FILLS)}.")


def black(
    checkpoint: Checkpoint, images: Float[Tensor, "image channel row column"]
) -> Float[Tensor, "image channel row column"]:
    """Black images, as the model's input has black: (0 − mean) / deviation."""
    preprocessing = checkpoint.preprocessing
    level = torch.tensor(preprocessing.mean) / torch.tensor(preprocessing.std)
    return torch.zeros_like(images) - level.to(images).view(1, -1, 1, 1)


def blurred(
    images: Float[Tensor, "image channel row column"], sigma_px: float
) -> Float[Tensor, "image channel row column"]:
    """Images under a Gaussian, cut off at three deviations; the border goes on outwards."""
    radius = max(1, round(3 * sigma_px))
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offset / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    folded = images.flatten(0, 1)[:, None]
    folded = torch.nn.functional.pad(folded, (radius,) * 4, mode="replicate")
    folded = torch.nn.functional.conv2d(folded, kernel.view(1, 1, 1, -1))
    folded = torch.nn.functional.conv2d(folded, kernel.view(1, 1, -1, 1))
    return folded.view(images.shape)


def _edges(starts: np.ndarray, whole: int) -> tuple[int, ...]:
    """Whole pixels; cells that lie outside (a model pads its input) are left out."""
    inner = np.unique(np.round(starts).astype(int))
    return (*(int(start) for start in inner if start < whole), whole)


def _coarser(edges: tuple[int, ...], most: int) -> tuple[int, ...]:
    n = len(edges) - 1
    n_cells = -(-n // -(-n // most))
    kept = np.round(np.linspace(0, n, n_cells + 1)).astype(int)
    return tuple(edges[place] for place in kept)


def _overlaps(edges: tuple[int, ...], n_values: int) -> Float[np.ndarray, "cell value"]:
    """The share of each cell that each of `n_values` equal parts of the axis has; rows sum to 1."""
    lower, upper = np.array(edges[:-1], float)[:, None], np.array(edges[1:], float)[:, None]
    places = np.arange(n_values + 1) * (edges[-1] / n_values)
    shared = np.minimum(upper, places[1:]) - np.maximum(lower, places[:-1])
    return np.maximum(shared, 0) / (upper - lower)
