"""Infidelity and sensitivity against closed forms."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.faithfulness import Squares, infidelity, max_sensitivity
from headscope.analysis.faithfulness.baselines import centre_map
from headscope.analysis.faithfulness.covering import Covering

from .games import contributions, noise, target


def squares(known: hs.Checkpoint, n_images: int = 3, seed: int = 0) -> Squares:
    batch = noise(n_images)
    return Squares(Covering(known, batch, target(batch), quantity="score"), n_squares=20, seed=seed)


def test_the_parts_of_a_linear_score_have_none(known: hs.Checkpoint) -> None:
    drawn, parts = squares(known), contributions(noise())
    for scale in (1.0, 1e-3, 50.0):
        # A difference of two numbers of the same size, in float64, over their size.
        np.testing.assert_allclose(infidelity(drawn, scale * parts), 0, atol=1e-12)


def test_what_tells_nothing_has_all(known: hs.Checkpoint) -> None:
    drawn, parts = squares(known), contributions(noise())
    np.testing.assert_array_equal(infidelity(drawn, -parts), 1)
    np.testing.assert_array_equal(infidelity(drawn, np.zeros_like(parts)), 1)
    flat = Squares(Covering(known, noise(), target(noise(), index=1), quantity="score"))
    assert np.isnan(infidelity(flat, parts)).all()  # the logit of class 1 is always 0


def test_it_is_the_residual_of_a_regression_through_zero(known: hs.Checkpoint) -> None:
    drawn = squares(known)
    maps = np.random.default_rng(1).random((3, 8, 8))
    clean, covered = drawn.run()
    cells = maps.reshape(3, 4, 2, 4, 2).mean((2, 4))
    found = infidelity(drawn, maps)
    for image in range(3):
        drop = clean[image] - covered[image]
        told = np.array([cells[image][mask].sum() for mask in drawn.masks[image]])
        beta = max((told @ drop) / (told @ told), 0)
        expected = ((drop - beta * told) ** 2).sum() / (drop**2).sum()
        # captum expands the square: float64, and numbers of one size.
        assert found[image] == pytest.approx(expected, abs=1e-9)
    assert (found > 0.01).any()


def test_squares_hang_on_seed_and_image_alone(known: hs.Checkpoint) -> None:
    three, one, other = squares(known), squares(known, 1), squares(known, seed=1)
    assert (three.masks[0] == one.masks[0]).all()
    assert (three.masks[0] != three.masks[1]).any()
    assert (three.masks != other.masks).any()
    assert three.masks.any((2, 3)).all()
    parts = contributions(noise())
    before = infidelity(three, parts**2)
    np.testing.assert_allclose(infidelity(three.first(2), parts[:2] ** 2), before[:2])
    np.testing.assert_allclose(infidelity(one, parts[:1] ** 2), before[:1], atol=1e-12)


def test_sensitivity_is_the_largest_relative_move(known: hs.Checkpoint) -> None:
    batch, seen = noise(), []

    def pixels(checkpoint: hs.Checkpoint, of: torch.Tensor, images: np.ndarray) -> np.ndarray:
        seen.append(of.numpy().copy())
        return of.mean(1).double().numpy()

    found = max_sensitivity(known, batch, pixels, radius=0.2, n_shifts=4)
    assert len(seen) == 5
    shifts = np.stack(seen[1:]) - seen[0]
    assert np.abs(shifts).max() <= 0.2
    assert np.abs(shifts).max() > 0.15
    blocks = shifts.reshape(4, 3, 3, 4, 8, 4, 8)
    assert np.ptp(blocks, axis=(4, 6)).max() < 1e-12  # one number for each cell and channel
    maps = np.stack([of.mean(1) for of in seen]).reshape(5, 3, -1)
    moves = np.linalg.norm(maps[1:] - maps[0], axis=-1) / np.linalg.norm(maps[0], axis=-1)
    np.testing.assert_allclose(found, moves.max(0))

    alone = max_sensitivity(known, batch[:1], pixels, radius=0.2, n_shifts=4)
    np.testing.assert_allclose(alone, found[:1])
    still = max_sensitivity(known, batch, centre_map)
    np.testing.assert_array_equal(still, 0)
    with pytest.raises(hs.HeadscopeError, match="above 0"):
        max_sensitivity(known, batch, pixels, radius=0)


def test_two_squares_at_least(known: hs.Checkpoint) -> None:
    covering = Covering(known, noise(), target(noise()))
    with pytest.raises(hs.HeadscopeError, match="too few"):
        Squares(covering, n_squares=1)
