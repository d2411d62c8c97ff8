"""What stands out in a map of relevance, against the definition written out in loops."""

import math

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.salient_relevance import context_aware_saliency


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """Means over cells as `adaptive_avg_pool2d` has them: from ⌊i n/m⌋ to ⌈(i+1) n/m⌉."""
    sizes = [(n, round(n * scale)) for n in image.shape[1:]]
    spans = [
        [slice(math.floor(i * n / m), math.ceil((i + 1) * n / m)) for i in range(m)]
        for n, m in sizes
    ]
    return np.stack(
        [[[channel[r, c].mean() for c in spans[1]] for r in spans[0]] for channel in image]
    )


def naive(image: np.ndarray, n_neighbours: int) -> list[np.ndarray]:
    """Saliency at each scale, before it is brought to one size (Goferman et al. 2010)."""
    scales = []
    for scale in (1.0, 0.8, 0.5, 0.3):
        at = shrunk(image, scale)
        height, width = at.shape[1:]
        if min(height, width) < 7:
            continue
        others = []
        for part in (1.0, 0.5, 0.25):
            rows, columns = (round(n * scale * part) for n in image.shape[1:])
            if min(rows, columns) < 7:
                continue
            other = shrunk(image, scale * part)
            for row in range(3, rows - 3, 3):
                for column in range(3, columns - 3, 3):
                    patch = other[:, row - 3 : row + 4, column - 3 : column + 4]
                    place = np.array([row + 0.5, column + 0.5]) / max(rows, columns)
                    others.append((patch, place))
        padded = np.pad(at, ((0, 0), (3, 3), (3, 3)), mode="edge")
        colour = np.zeros((height, width, len(others)))
        far = np.zeros_like(colour)
        for row in range(height):
            for column in range(width):
                patch = padded[:, row : row + 7, column : column + 7]
                place = np.array([row + 0.5, column + 0.5]) / max(height, width)
                for k, (other, at_place) in enumerate(others):
                    colour[row, column, k] = math.sqrt(((patch - other) ** 2).sum())
                    far[row, column, k] = math.sqrt(((place - at_place) ** 2).sum())
        unlike = np.sort(colour / colour.max() / (1 + 3 * far), axis=-1)[..., :n_neighbours]
        saliency = 1 - np.exp(-unlike.mean(-1))
        foci = np.argwhere(saliency >= 0.8 * saliency.max())
        for row in range(height):
            for column in range(width):
                steps = np.sqrt(((foci - [row, column]) ** 2).sum(1)).min() / max(height, width)
                saliency[row, column] *= 1 - min(steps, 1)
        scales.append(saliency)
    return scales


def test_it_is_the_definition() -> None:
    image = np.random.default_rng(0).normal(size=(3, 20, 26))
    scales = naive(image, 5)
    assert len(scales) == 3
    expected = np.mean(
        [
            torch.nn.functional.interpolate(
                torch.from_numpy(scale.copy())[None, None], (20, 26), mode="bilinear"
            )[0, 0].numpy()
            for scale in scales
        ],
        axis=0,
    )
    found = context_aware_saliency(torch.from_numpy(image)[None], 5)[0].numpy()
    # Distances by a product of matrices: the root of float64's rounding.
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_unlike_the_rest_stands_out() -> None:
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    colours = ((rows + columns) % 4 < 2).double().expand(3, -1, -1).clone()
    colours[:, 18:24, 30:36] = -3.0
    found = context_aware_saliency(colours[None], 16)[0]
    row, column = divmod(int(found.argmax()), 48)
    assert 15 <= row < 27
    assert 27 <= column < 39
    assert float(found[:8, :8].max()) < 0.5 * float(found.max())
    # In twice as strong colours the same stands out; where all is alike, nothing does.
    torch.testing.assert_close(context_aware_saliency(2 * colours[None], 16)[0], found)
    assert not context_aware_saliency(torch.ones(1, 3, 40, 48, dtype=torch.float64), 16).any()


def test_it_is_of_the_relevance_of_pixels(demo: hs.Checkpoint) -> None:
    batch = torch.randn(2, 3, 96, 96, generator=torch.manual_seed(0))
    found = explain(demo, batch, "salient-relevance", target=0)
    assert found.values.shape == (2, 56, 56)
    assert found.cell_px == (96 / 56, 96 / 56)
    assert not found.method.signed
    assert 0 <= found.values.min() < found.values.max() < 1
    alone = explain(demo, batch[1:], "salient-relevance", target=0)
    np.testing.assert_allclose(alone.values[0], found.values[1], atol=1e-4)  # float32 relevance
    other = explain(demo, batch, "salient-relevance", target=5)
    assert abs(other.values - found.values).max() > 0.01
    assert explain(demo, batch[:1], "salient-relevance", target=0, side=24).values.shape[1:] == (
        24,
        24,
    )


def test_of_an_image_that_is_not_square(small: hs.Checkpoint) -> None:
    found = explain(small, torch.randn(1, 3, 48, 80), "salient-relevance", target=0, side=40)
    assert found.values.shape == (1, 24, 40)
    assert found.cell_px == pytest.approx((2, 2))
