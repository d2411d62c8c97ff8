"""Relevance of attention maps times their derivative, carried down to the patches."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.models.gradients import attention_gradients

from ...models.naive_relevance import naive_relevance
from ...models.test_relevance import checkpoint_of, tiny_vit


def test_it_is_the_papers_product_written_out() -> None:
    checkpoint = checkpoint_of(tiny_vit(), (8, 12))
    batch = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.manual_seed(3))
    target = 2
    found = explain(checkpoint, batch, "transformer-attribution", target=target)
    slopes = attention_gradients(checkpoint, batch, lambda output: output[:, target])
    for image in range(2):
        owed = naive_relevance(checkpoint.model, batch[image].numpy(), target).maps  # pyright: ignore
        product = np.eye(7)
        for layer, of_layer in zip(slopes.layers, owed, strict=True):
            weighed = layer.gradient.weights[image].numpy() * of_layer
            product = (np.eye(7) + np.maximum(weighed, 0).mean(0)) @ product
        # The replica divides by sums that may be small: some digits of 16 are lost.
        np.testing.assert_allclose(
            found.values[image], product[0, 1:].reshape(2, 3), rtol=1e-8, atol=1e-12
        )
    assert found.heads is not None
    np.testing.assert_allclose(found.heads.sum((1, 2)), found.values, rtol=1e-9, atol=1e-14)
    assert (found.values >= 0).all()
    assert found.values.max() > 1e-6


def test_it_speaks_of_the_target_and_of_each_image_alone(demo: hs.Checkpoint) -> None:
    batch = torch.randn(3, 3, 96, 96, generator=torch.manual_seed(0))
    one, other = (explain(demo, batch, "transformer-attribution", target=t) for t in (0, 5))
    assert abs(one.values - other.values).max() > 0.01 * one.values.max()
    alone = explain(demo, batch[2:], "transformer-attribution", target=0)
    # Float32 in another order.
    np.testing.assert_allclose(alone.values[0], one.values[2], atol=1e-4 * one.values.max())
    against = explain(demo, batch, "transformer-attribution", target=0, against="runner-up")
    assert np.isfinite(against.values).all()


def test_windows_have_no_product() -> None:
    checkpoint = hs.load("swin_tiny_patch4_window7_224", pretrained=False)
    with pytest.raises(hs.HeadscopeError, match=r"Transformer attribution .* does not fit"):
        explain(checkpoint, torch.zeros(1, 3, 224, 224), "transformer-attribution")
