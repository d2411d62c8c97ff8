"""Occlusion and RISE: loops, and the answers that are known of a linear score."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.occlusion import covered_places
from headscope.analysis.explain.perturbing import CellGrid, cell_grid
from headscope.analysis.explain.rise import Estimate, RandomMasks

from ...conftest import GRID, PATCH_PX, SINK_PATCH
from ...contracts.networks import noise
from ...contracts.networks import small as network

SIZE = GRID * PATCH_PX


@pytest.fixture(scope="module")
def linear(known_crops: np.ndarray, known: hs.Checkpoint) -> torch.Tensor:
    return known.prepare(known_crops)


def parts_of_known(images: torch.Tensor) -> np.ndarray:
    """What each pixel gives to the logit of class 0 of the known-answer ViT."""
    weight = np.full((SIZE, SIZE), 2 / (GRID**2 + 1))
    row, column = (PATCH_PX * place for place in divmod(SINK_PATCH, GRID))
    weight[row : row + PATCH_PX, column : column + PATCH_PX] -= 0.5
    return images.sum(1).numpy() * weight / (3 * PATCH_PX**2)


def test_occlusion_of_a_linear_score_is_what_the_patch_gives(
    known: hs.Checkpoint, linear: torch.Tensor
) -> None:
    found = explain(known, linear, "occlusion", target=0).values
    parts = parts_of_known(linear).reshape(-1, GRID, PATCH_PX, GRID, PATCH_PX).sum((2, 4))
    np.testing.assert_allclose(found, parts, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 1), (3, 2), (5, 5)])
@pytest.mark.parametrize("name", ["vision_transformer", "swin_transformer"])
def test_occlusion_is_a_naive_loop(name: str, size: int, stride: int) -> None:
    checkpoint = network(name)
    batch = noise(checkpoint)
    grid = cell_grid(checkpoint)
    rows, columns = grid.shape
    score = checkpoint.run(batch)[:, 0].numpy()
    total, times = np.zeros((2, rows, columns)), np.zeros((rows, columns))
    for top in {min(n, max(0, rows - size)) for n in range(0, rows, stride)}:
        for left in {min(n, max(0, columns - size)) for n in range(0, columns, stride)}:
            bottom, right = min(rows, top + size), min(columns, left + size)
            covered = batch.clone()
            up, down = grid.row_edges[top], grid.row_edges[bottom]
            covered[:, :, up:down, grid.column_edges[left] : grid.column_edges[right]] = 0
            drop = score - checkpoint.run(covered)[:, 0].numpy()
            total[:, top:bottom, left:right] += drop[:, None, None]
            times[top:bottom, left:right] += 1
    found = explain(checkpoint, batch, "occlusion", target=0, size=size, stride=stride).values
    assert total.std() > 0
    # Drops are differences of float32 scores, here of batches of other sizes.
    np.testing.assert_allclose(found, total / times, atol=1e-5 * np.abs(score).max() + 1e-6)


def test_every_cell_is_covered_or_it_is_said() -> None:
    grid = CellGrid(tuple(range(8)), tuple(range(6)))
    for size in range(1, 9):
        for stride in range(1, size + 1):
            assert covered_places(grid, size, stride).any(0).all()
    with pytest.raises(hs.HeadscopeError, match="stride up to 2"):
        covered_places(grid, 2, 3)


def bilinear(n_cells: int, cell_px: int) -> np.ndarray:
    """Weight of each of n + 1 cells in each pixel of a row, by shift: `shift pixel cell`."""
    large = np.zeros(((n_cells + 1) * cell_px, n_cells + 1))
    for pixel in range(len(large)):
        at = min(max((pixel + 0.5) / cell_px - 0.5, 0), n_cells)
        lower = min(int(at), n_cells - 1)
        large[pixel, lower], large[pixel, lower + 1] = 1 - (at - lower), at - lower
    return np.stack([large[shift : shift + n_cells * cell_px] for shift in range(cell_px)])


@pytest.mark.parametrize("weighting", ["expected", "drawn"])
def test_rise_of_a_linear_score_is_within_its_error(
    known: hs.Checkpoint, linear: torch.Tensor, weighting: str
) -> None:
    """Of S = Σ s(j), E[S M(λ)] / p = p Σ s(j) + (1 − p) Σ s(j) B(j)·B(λ), averaged over shifts."""
    n_cells, visible, n_masks = GRID, 0.4, 4_000
    weights = bilinear(n_cells, PATCH_PX)
    together = np.einsum("sac,sbc->ab", weights, weights) / len(weights)
    parts = parts_of_known(linear)
    expected = visible * parts.sum((1, 2))[:, None, None] + (1 - visible) * np.einsum(
        "ijk,jr,kc->irc", parts, together, together
    )
    # By itself, as an explanation holds no errors.
    masks = RandomMasks.draw((SIZE, SIZE), n_masks, n_cells, visible, seed=0)
    estimate = Estimate(len(linear), (SIZE, SIZE))
    for which in torch.arange(n_masks).split(500):
        shown = masks.at(which)
        scores = np.einsum("ijk,mjk->mi", parts, shown.numpy())
        estimate.add(torch.from_numpy(scores), shown)
    values, error = estimate.values(visible, weighting)
    z = (values - expected) / error
    # Neighbours go together: there are some 3 × 25 free numbers, of which none should pass 4.
    assert np.abs(z).max() < 4
    assert 0.4 < np.sqrt((z**2).mean()) < 1.6
    assert error.mean() < expected.std((1, 2)).mean()  # so that the map is told from flat

    found = explain(
        known, linear[:1], "rise", target=0, masks=200, cells=n_cells, visible=visible,
        weighting=weighting,
    )  # fmt: skip
    again = Estimate(1, (SIZE, SIZE))
    masks = RandomMasks.draw((SIZE, SIZE), 200, n_cells, visible, seed=0)
    shown = masks.at(torch.arange(200))
    again.add(torch.from_numpy(np.einsum("ijk,mjk->mi", parts[:1], shown.numpy())), shown)
    values, error = again.values(visible, weighting)
    np.testing.assert_allclose(found.values, values, atol=1e-12)
    assert f"{error.mean():.2g} on average" in found.notes[0]


def test_the_standard_error_is_that_of_many_draws() -> None:
    """The spread of estimates over draws of masks, against what each says of itself."""
    parts = np.random.default_rng(0).normal(size=(1, 12, 12)) + 0.3
    for weighting in ("expected", "drawn"):
        found, said = [], []
        for seed in range(60):
            masks = RandomMasks.draw((12, 12), 60, 3, 0.5, seed).at(torch.arange(60))
            estimate = Estimate(1, (12, 12))
            scores = np.einsum("ijk,mjk->mi", parts, masks.numpy())
            estimate.add(torch.from_numpy(scores), masks)
            values, error = estimate.values(0.5, weighting)
            found.append(values)
            said.append(error)
        # A deviation from 60 draws is known to 9 %, and neighbours share theirs.
        assert np.std(found, axis=0).mean() == pytest.approx(np.mean(said), rel=0.2)


def test_a_constant_score_is_flat_when_weighted_by_what_was_drawn() -> None:
    masks = RandomMasks.draw((12, 12), 50, 3, 0.5, 0).at(torch.arange(50))
    estimate = Estimate(1, (12, 12))
    estimate.add(torch.full((50, 1), 7.0, dtype=torch.float64), masks)
    values, error = estimate.values(0.5, "drawn")
    np.testing.assert_allclose(values, 7)
    np.testing.assert_allclose(error, 0, atol=1e-6)  # the root of what float64 leaves of 0
    noisy, _ = estimate.values(0.5, "expected")
    assert noisy.std() > 0.1


def test_masks_fill_an_image_that_cells_do_not_divide() -> None:
    masks = RandomMasks.draw((30, 47), 300, 7, 0.3, 0).at(torch.arange(300))
    assert masks.shape == (300, 30, 47)
    assert float(masks.amin()) >= 0
    assert float(masks.amax()) <= 1 + 1e-12  # bilinear weights sum to 1 in float64
    # 300 masks of some 50 cells: the mean over all is known to 0.5 / √15,000.
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.02)
