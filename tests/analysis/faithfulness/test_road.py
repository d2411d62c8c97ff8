"""Imputation and ROAD against cases with a known solution."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.faithfulness import impute, road

from .games import contributions, noise, target


def test_a_ramp_is_imputed_exactly() -> None:
    rows, columns = np.mgrid[:20, :24].astype(float)
    image = torch.from_numpy(np.stack([2 * rows - columns + 3, columns]))
    removed = np.zeros((20, 24), bool)
    removed[4:15, 3:9] = removed[6:12, 9:20] = True
    holes = image.clone()
    holes[:, removed] = 1e3
    # Each pixel of a ramp is the mean of its eight neighbours: float64 rounding of a solve.
    torch.testing.assert_close(
        impute(holes, torch.from_numpy(removed).numpy(), noise=0), image, atol=1e-9, rtol=0
    )


def test_a_dense_system_written_from_the_paper_agrees() -> None:
    generator = np.random.default_rng(0)
    image, removed = generator.random((3, 7, 9)), generator.random((7, 9)) < 0.6
    assert removed[0].any()  # at the border, where weights are fewer
    n, index = removed.sum(), np.cumsum(removed.ravel()).reshape(removed.shape) - 1
    system, right = np.zeros((n, n)), np.zeros((n, 3))
    for row, column in np.argwhere(removed):
        i = index[row, column]
        for down in (-1, 0, 1):
            for aside in (-1, 0, 1):
                r, c = row + down, column + aside
                if (down, aside) == (0, 0) or not (0 <= r < 7 and 0 <= c < 9):
                    continue
                weight = 1 / 12 if down and aside else 1 / 6
                system[i, i] += weight
                if removed[r, c]:
                    system[i, index[r, c]] -= weight
                else:
                    right[i] += weight * image[:, r, c]
    expected = image.copy()
    expected[:, removed] = np.linalg.solve(system, right).T
    found = impute(torch.from_numpy(image), removed, noise=0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10)  # both solve in float64
    noisy = impute(torch.from_numpy(image), removed, noise=0.5, seed=3).numpy()
    np.testing.assert_array_equal(noisy[:, ~removed], image[:, ~removed])
    # 0.5 within four standard errors of a standard deviation of about 110 numbers.
    assert (noisy - found)[:, removed].std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * 110))


def test_road_is_the_difference_of_both_orders(known: hs.Checkpoint) -> None:
    batch = noise()
    parts = contributions(batch)
    found = road(known, batch, parts, target(batch), quantity="score", batch_size=2)
    turned = road(known, batch, -parts, target(batch), quantity="score", batch_size=3)
    np.testing.assert_allclose(found.share, [3 / 16, 6 / 16, 10 / 16, 13 / 16])
    assert (found.score > 0).all()
    # The same cells go, with other noise: of 0.01 an average over hundreds of pixels is left.
    np.testing.assert_allclose(found.most_first, turned.least_first, atol=2e-3)
    first = np.argsort(-parts[1].ravel())[:6]
    removed = np.zeros(16, bool)
    removed[first] = True
    pixels = removed.reshape(4, 4).repeat(8, 0).repeat(8, 1)
    alone = known.run(impute(batch[1], pixels, noise=0)[None])[0, 0]
    assert found.most_first[1, 1] == pytest.approx(float(alone), abs=2e-3)
    np.testing.assert_allclose(
        found.score, (found.least_first - found.most_first).mean(1), atol=1e-15
    )


def test_all_or_nothing_cannot_be_imputed(known: hs.Checkpoint) -> None:
    batch = noise(1)
    for share in (0.0, 1.0):
        with pytest.raises(hs.HeadscopeError, match="between 0 and 1"):
            road(known, batch, contributions(batch), target(batch), shares=(share,))
    with pytest.raises(hs.HeadscopeError, match="nothing is left"):
        impute(batch[0], np.ones((32, 32), bool))
    nothing = impute(batch[0], np.zeros((32, 32), bool))
    torch.testing.assert_close(nothing, batch[0], atol=0, rtol=0)
