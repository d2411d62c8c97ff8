"""Every score can be had of every family: windows, branches, class attention, odd grids."""

import numpy as np
import pytest
import torch

from headscope.analysis.explain.perturbing import cell_grid
from headscope.analysis.faithfulness import BASELINES, compare_explanations

from ...contracts.networks import noise, small


def slope(checkpoint, batch: torch.Tensor, images: np.ndarray) -> np.ndarray:
    """Plain gradient of class 0 by the pixels."""
    batch = batch.detach().clone().requires_grad_()
    with torch.enable_grad():
        output = checkpoint.readout(checkpoint.model(batch))
        (found,) = torch.autograd.grad(output[:, 0].sum(), batch)
    return found.sum(1).double().numpy()


@pytest.mark.parametrize(
    "name", ["swin_transformer", "crossvit", "cait", "levit", "pvt_v2", "vision_transformer"]
)
def test_scores_are_there_for_every_family(name: str) -> None:
    checkpoint = small(name)
    batch = noise(checkpoint)
    table = compare_explanations(
        checkpoint,
        batch,
        {"slope": slope},
        target=0,
        scores=["difference", "road", "infidelity", "sensitivity", "randomised"],
        steps=4,
    )
    # An image whose score no square changes would be NaN: here every one does.
    assert np.isfinite(table.values).all()
    assert table.data["better"].values.tolist() == ["higher", "higher", "lower", "lower", "lower"]
    for baseline in BASELINES.values():
        maps = baseline(checkpoint, batch, np.arange(len(batch)))
        assert maps.shape == (len(batch), *cell_grid(checkpoint).shape)
        assert np.ptp(maps) > 0
    assert all(parameter.grad is None for parameter in checkpoint.model.parameters())


def test_baselines_do_not_hang_on_the_batch() -> None:
    checkpoint = small("vision_transformer")
    batch = noise(checkpoint)
    images = np.arange(len(batch))
    for baseline in BASELINES.values():
        together = baseline(checkpoint, batch, images)
        alone = baseline(checkpoint, batch[1:2], images[1:2])
        # float64; the sums of a convolution may be in another order.
        np.testing.assert_allclose(together[1:2], alone, atol=1e-12)


def test_the_centre_is_in_the_centre() -> None:
    checkpoint = small("vision_transformer")
    batch = noise(checkpoint)
    (row, column) = BASELINES["centre"](checkpoint, batch, np.arange(len(batch)))[0].shape
    centre = BASELINES["centre"](checkpoint, batch, np.arange(len(batch)))[0]
    np.testing.assert_allclose(centre, centre[::-1, ::-1])
    # A quarter of the side from the centre is one deviation: the middle of row i lies at
    # (i + ½) / n − ½ of the side.
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (row, column))
    np.testing.assert_allclose(centre, np.exp(-8 * (y[:, None] ** 2 + x**2)))
