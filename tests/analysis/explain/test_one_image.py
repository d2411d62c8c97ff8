"""An image has the same map by itself as in a batch, whatever the network is made of."""

from typing import Any

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.importance.estimate import estimate_importance

from ...contracts.networks import NETWORKS, noise, read

QUICK: dict[str, dict[str, Any]] = {
    "gradient": {},
    "integrated-gradients": {"steps": 1},
    "smooth-grad": {"samples": 1},
    "grad-cam": {},
    "grad-cam-plus-plus": {},
    "attn-lrp": {},
}
NORMED = ("levit", "xcit")
"""Batch norms over tokens that lie channels last."""


def double(name: str) -> tuple[hs.Checkpoint, torch.Tensor]:
    """A network in float64: rounding cannot be taken for an error, nor an error for rounding."""
    checkpoint = read(NETWORKS[name].build().double(), NETWORKS[name].size)
    return checkpoint, noise(checkpoint, 3)


@pytest.mark.parametrize("method", QUICK)
@pytest.mark.parametrize("name", NORMED)
def test_a_map_is_the_images_own_through_batch_norms(name: str, method: str) -> None:
    checkpoint, batch = double(name)
    settings: dict[str, Any] = {"target": torch.tensor([0, 3, 1]), **QUICK[method]}
    whole = explain(checkpoint, batch, method, **settings)
    parts = explain(checkpoint, batch, method, batch_size=2, **settings)  # the last is alone
    size = np.abs(whole.values).max((1, 2), keepdims=True)
    assert (size > 0).all()
    # Float64 rounding of batches of another size, through some thousand sums.
    assert (np.abs(parts.values - whole.values) <= 1e-8 * size).all()
    if whole.heads is not None:
        np.testing.assert_allclose(parts.heads, whole.heads, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", NORMED)
def test_an_estimate_of_one_image_is_that_in_a_batch(name: str) -> None:
    checkpoint, batch = double(name)
    target = torch.tensor([0, 3, 1])
    whole = estimate_importance(checkpoint, batch, target).scores
    alone = estimate_importance(checkpoint, batch[2:], target[2:]).scores
    np.testing.assert_allclose(alone[0], whole[2], rtol=1e-7, atol=1e-13)  # float64 rounding
