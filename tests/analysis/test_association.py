"""Rank correlation of two numbers over heads."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from headscope.analysis.association import association


def scores(seed: int, n_images: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_images, 3, 4))


def test_it_is_spearmans_rho_of_the_means() -> None:
    x, y = scores(0), scores(1)
    x[:, 2, 3] = np.nan  # no such head
    y[:5, 0, 0] = np.nan  # images that are not done
    found = association(x, y)
    kept = np.ones((3, 4), bool)
    kept[2, 3] = False
    expected = spearmanr(x.mean(0)[kept], np.nanmean(y, axis=0)[kept])
    assert found.rho == pytest.approx(float(expected[0]))
    assert found.low <= found.rho <= found.high
    assert (found.n_heads, found.n_images, found.reason) == (11, 20, "")


def test_what_is_the_same_order_is_one_and_the_reverse_minus_one() -> None:
    heads = np.arange(12.0).reshape(1, 3, 4).repeat(8, 0)
    same = association(heads, heads**3)
    assert (same.rho, same.low, same.high) == (1, 1, 1)
    assert association(heads, -heads).rho == -1


def test_the_interval_holds_what_images_do_to_it() -> None:
    """Of 100 sets of images, 95 % intervals hold the ρ of the true means in most."""
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 1, 3, 4))
    held = 0
    true = float(spearmanr(x.ravel(), y.ravel())[0])
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.3, (2, 30, 3, 4))
        found = association(x + noise[0], y + noise[1])
        held += found.low <= true <= found.high
    # Of 20 draws at 95 % fewer than 15 come once in 3,000.
    assert held >= 15


def test_it_says_why_there_is_none() -> None:
    few = association(scores(0, 2), scores(1, 2))
    assert not np.isnan(few.rho)
    assert np.isnan(few.low)
    assert "6 images" in few.reason
    flat = association(np.ones((8, 3, 4)), scores(0, 8))
    assert np.isnan(flat.rho)
    assert "same for all heads" in flat.reason
    assert "3 heads" in association(scores(0)[:, :1, :3], scores(1)[:, :1, :3]).reason
