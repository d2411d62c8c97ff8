"""Cells, fills, and maps brought to cells."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain.perturbing import (
    FILLS,
    MOST_CELLS,
    CellGrid,
    blurred,
    cell_grid,
    cell_scores,
    cover,
    filling,
    first_cells,
    patch_grid,
    ranking,
)

from ...contracts.networks import small as network

UNEVEN = CellGrid((0, 2, 7, 12), (0, 5, 8))
"""Rows of 2, 5 and 5 px, columns of 5 and 3."""


def by_pixel(values: np.ndarray, grid: CellGrid, fine: int) -> np.ndarray:
    """Means over cells, by a grid of points so fine that no point is on an edge."""
    height, width = grid.size
    means = np.zeros((len(values), *grid.shape))
    for image, row, column in np.ndindex(means.shape):
        total = []
        for y in np.arange(grid.row_edges[row], grid.row_edges[row + 1], 1 / fine):
            for x in np.arange(grid.column_edges[column], grid.column_edges[column + 1], 1 / fine):
                r = int((y + 0.5 / fine) * values.shape[1] / height)
                c = int((x + 0.5 / fine) * values.shape[2] / width)
                total.append(values[image, r, c])
        means[image, row, column] = np.mean(total)
    return means


@pytest.mark.parametrize(("shape", "fine"), [((12, 8), 1), ((3, 2), 1), ((4, 16), 2), ((5, 6), 15)])
def test_means_are_those_over_the_area(shape: tuple[int, int], fine: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, *shape))
    # Every edge of a map lies between two of the points: both are the same mean.
    np.testing.assert_allclose(UNEVEN.means(values), by_pixel(values, UNEVEN, fine), atol=1e-12)


def test_a_map_on_the_cells_stays_as_it_is(small: hs.Checkpoint) -> None:
    grid = patch_grid(small)
    assert grid.shape == small.layout.grid == (3, 5)
    values = np.random.default_rng(0).normal(size=(2, 3, 5))
    np.testing.assert_allclose(cell_scores(values, grid), values, atol=1e-15)


def test_cells_weigh_by_their_area() -> None:
    values = np.random.default_rng(1).normal(size=(1, 12, 8))
    assert UNEVEN.areas.sum() == pytest.approx(1)
    assert (UNEVEN.means(values)[0] * UNEVEN.areas).sum() == pytest.approx(values.mean())


@pytest.mark.parametrize(("patches", "cells"), [(3, 3), (16, 16), (17, 9), (37, 13), (56, 14)])
def test_fine_grids_are_coarsened_by_whole_patches(
    monkeypatch: pytest.MonkeyPatch, small: hs.Checkpoint, patches: int, cells: int
) -> None:
    fine = CellGrid(tuple(range(0, 4 * patches + 1, 4)), (0, 1))
    monkeypatch.setattr("headscope.analysis.explain.perturbing.patch_grid", lambda _: fine)
    edges = cell_grid(small).row_edges
    assert len(edges) - 1 == cells <= MOST_CELLS
    heights = np.diff(edges)
    assert not (heights % 4).any()
    assert heights.max() - heights.min() <= 4  # a patch


@pytest.mark.parametrize("name", ["swin_transformer", "crossvit", "cait", "mobilevit", "levit"])
def test_cells_fill_the_image_in_any_family(name: str) -> None:
    checkpoint = network(name)
    grid = cell_grid(checkpoint)
    assert grid.size == checkpoint.preprocessing.size
    assert grid.areas.sum() == pytest.approx(1)
    assert max(grid.shape) <= MOST_CELLS


def test_cover_changes_the_chosen_cells_alone(small: hs.Checkpoint) -> None:
    images = torch.randn(2, 3, 12, 8)
    cells = torch.zeros(2, 3, 2, dtype=torch.bool)
    cells[0, 1, 1] = cells[1, 0, 0] = True
    covered = cover(images, cells, torch.full_like(images, 7), UNEVEN)
    expected = images.clone()
    expected[0, :, 2:7, 5:] = 7
    expected[1, :, :2, :5] = 7
    assert torch.equal(covered, expected)


def test_ranking_breaks_ties_by_lot_and_alike_for_all_images() -> None:
    scores = np.zeros((2, 4, 5))
    scores[:, 2, 3], scores[:, 0, 0], scores[:, 1, 1] = 2, -1, np.nan
    order = ranking(scores)
    assert (order[:, 0] == 13).all()
    assert (order[:, -2:] == [0, 6]).all()
    assert np.array_equal(order[0], order[1])
    assert not np.array_equal(order[0, 1:-2], np.sort(order[0, 1:-2]))
    assert np.array_equal(order[:1], ranking(scores[:1]))
    assert not np.array_equal(order, ranking(scores, seed=1))


def test_first_cells_are_those_of_the_order() -> None:
    order = np.array([[5, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 0]])
    chosen = first_cells(order, np.array([1, 2]), UNEVEN)
    assert chosen[0].nonzero().tolist() == [[2, 1]]
    assert chosen[1].nonzero().tolist() == [[0, 1], [1, 0]]


def test_fills(small: hs.Checkpoint) -> None:
    images = 2 + torch.randn(3, 3, 48, 80)
    assert not filling(small, images, "mean").any()
    pixels = small.preprocessing
    black = filling(small, images, "black")[0, 1, 0, 0]
    assert float(black) == pytest.approx(-pixels.mean[1] / pixels.std[1])
    noise = filling(small, images, "noise", seed=3)
    # 3,840 draws: the mean is known to 1/62, five of these.
    torch.testing.assert_close(noise.mean((2, 3)), images.mean((2, 3)), atol=0.08, rtol=0)
    assert torch.equal(noise[1:2], filling(small, images[1:2], "noise", seed=3))
    assert not torch.equal(noise, filling(small, images, "noise", seed=4))
    others = images.roll(1, 0)
    assert torch.equal(filling(small, images, "image", others=others), others)
    with pytest.raises(hs.HeadscopeError, match="got none"):
        filling(small, images, "image")
    with pytest.raises(hs.HeadscopeError, match=", ".join(FILLS)):
        filling(small, images, "lava")


def test_blur_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    images = torch.randn(1, 2, 20, 30, dtype=torch.float64)
    expected = gaussian_filter(images.numpy(), 2, axes=(2, 3), mode="nearest", truncate=3)
    np.testing.assert_allclose(blurred(images, 2).numpy(), expected, atol=1e-12)
