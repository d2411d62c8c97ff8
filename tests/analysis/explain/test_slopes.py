"""Gradient, SmoothGrad, Integrated Gradients: closed forms, captum by itself, and loops."""

from typing import Any

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.models.demo.scenes import scene

from ...conftest import GRID, PATCH_PX, SINK_PATCH


@pytest.fixture(scope="module")
def scenes(demo: hs.Checkpoint) -> torch.Tensor:
    return demo.prepare(np.stack([scene(seed).image for seed in range(4)]))


@pytest.fixture(scope="module")
def linear(known_crops: np.ndarray, known: hs.Checkpoint) -> torch.Tensor:
    """Images for the known-answer ViT, whose logit of class 0 is linear in the pixels."""
    return known.prepare(known_crops)


def slope_of_known() -> np.ndarray:
    """2 times the mean content over all tokens, less half the content of the sink."""
    size, content = GRID * PATCH_PX, 1 / (3 * PATCH_PX**2)
    slope = np.full((size, size), 2 / (GRID**2 + 1) * content)
    row, column = (PATCH_PX * place for place in divmod(SINK_PATCH, GRID))
    slope[row : row + PATCH_PX, column : column + PATCH_PX] -= 0.5 * content
    return slope


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient", {}),
        ("smooth-grad", {"samples": 4}),
        ("integrated-gradients", {"steps": 1}),
        ("integrated-gradients", {"steps": 40}),
    ],
)
def test_a_linear_score_is_split_exactly(
    known: hs.Checkpoint, linear: torch.Tensor, method: str, options: dict[str, Any]
) -> None:
    found = explain(known, linear, method, target=0, **options)
    expected = linear.sum(1).numpy() * slope_of_known()
    # float64 but for captum's quadrature: its weights are float32, and sum to 1 as such.
    limit = 1e-7 if options.get("steps", 1) > 1 else 1e-12
    np.testing.assert_allclose(found.values, expected, atol=limit * np.abs(expected).max())
    np.testing.assert_allclose(found.values.sum((1, 2)), found.score, atol=limit)
    if found.residual is not None:
        assert np.abs(found.residual).max() < limit


def test_magnitude_is_the_largest_slope(known: hs.Checkpoint, linear: torch.Tensor) -> None:
    found = explain(known, linear, "gradient", target=0, kind="magnitude")
    expected = np.broadcast_to(np.abs(slope_of_known()), found.values.shape)
    np.testing.assert_allclose(found.values, expected, atol=1e-16)


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
def test_integrated_gradients_are_complete(
    demo: hs.Checkpoint, scenes: torch.Tensor, baseline: str
) -> None:
    options = {"target": 0, "against": 5, "baseline": baseline}
    rough, fine = (
        explain(demo, scenes[:2], "integrated-gradients", steps=steps, **options)
        for steps in (8, 96)
    )
    assert rough.residual is not None
    assert fine.residual is not None
    # A quadrature of 96 points of a smooth path: what is left is a hundredth of a logit here.
    assert np.abs(fine.residual).max() < 0.01
    assert np.abs(fine.residual).max() < np.abs(rough.residual).max()
    assert f"{baseline} baseline; after 96 steps" in fine.notes[0]


def test_integrated_gradients_are_captums(demo: hs.Checkpoint, scenes: torch.Tensor) -> None:
    from captum.attr import IntegratedGradients

    black = torch.full_like(scenes[:2], -1.0)  # mean 0.5, deviation 0.5
    attributed = IntegratedGradients(demo.model).attribute(
        scenes[:2], black, target=3, n_steps=10, method="gausslegendre"
    )
    found = explain(demo, scenes[:2], "integrated-gradients", target=3, steps=10).values
    expected = attributed.sum(1).detach().numpy()
    # float32, in batches of other sizes.
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_integrated_gradients_are_a_naive_quadrature(
    demo: hs.Checkpoint, scenes: torch.Tensor
) -> None:
    points, weights = np.polynomial.legendre.leggauss(6)
    pixels, total = scenes[:1], torch.zeros(scenes[:1].shape, dtype=torch.float64)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = (float(point) * pixels).requires_grad_()  # the baseline is 0
        total += weight * torch.autograd.grad(demo.model(at)[0, 0], at)[0].double()
    expected = (total * pixels).sum(1).numpy()
    found = explain(demo, pixels, "integrated-gradients", target=0, steps=6, baseline="mean").values
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_smooth_grad_without_noise_is_the_gradient(
    demo: hs.Checkpoint, scenes: torch.Tensor
) -> None:
    for kind in ("times-input", "magnitude"):
        plain = explain(demo, scenes[:2], "gradient", kind=kind).values
        smooth = explain(demo, scenes[:2], "smooth-grad", noise=0, samples=2, kind=kind).values
        np.testing.assert_allclose(smooth, plain, atol=1e-4 * np.abs(plain).max())  # float32


def test_smooth_grad_is_captums(demo: hs.Checkpoint, scenes: torch.Tensor) -> None:
    from captum.attr import NoiseTunnel, Saliency

    pixels = scenes[2:3].clone().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        slope = NoiseTunnel(Saliency(demo.model)).attribute(
            pixels,
            nt_samples=5,
            stdevs=0.2 * float(scenes[2].max() - scenes[2].min()),
            target=3,
            abs=False,
        )
    expected = (slope * pixels).sum(1).detach().numpy()[0]
    found = explain(demo, scenes, "smooth-grad", target=3, samples=5, noise=0.2, seed=7).values[2]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_more_samples_smooth_more(demo: hs.Checkpoint, scenes: torch.Tensor) -> None:
    """Two draws of the noise agree better when each is the mean of more."""

    def agreement(samples: int) -> float:
        one, two = (
            explain(demo, scenes[:1], "smooth-grad", samples=samples, seed=seed).values.ravel()
            for seed in (0, 1)
        )
        return float(np.corrcoef(one, two)[0, 1])

    assert agreement(24) > agreement(2) + 0.1
