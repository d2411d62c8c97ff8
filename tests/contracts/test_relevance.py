"""Layer-wise relevance sums to the score in every family, image by image."""

import pytest
import torch

from headscope.analysis.explain import explain
from headscope.models.relevance import Rules, relevance_of

from .networks import NETWORKS, noise, read, small


def score(output: torch.Tensor) -> torch.Tensor:
    """Something of every number of the output."""
    return (output * torch.linspace(1, 2, output.shape[-1], dtype=output.dtype)).sum(-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_that_is_owed_is_the_score(name: str) -> None:
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    batch = noise(checkpoint)
    before = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    found = relevance_of(checkpoint, batch, score)
    torch.testing.assert_close(found.output, checkpoint.run(batch), rtol=1e-9, atol=1e-9)
    assert found.without_rule == ()
    gap, size = found.gap()
    # Float64 rounding, but for two models that compute their norms in float32 whatever they are
    # given (deepseek_vit; 2e-8 of what is owed was seen) or hold a table in it.
    assert bool((gap.abs() <= 1e-6 * size).all())
    if name != "deepseek_vit":
        assert bool((gap.abs() <= 1e-11 * size).all())
    alone = relevance_of(checkpoint, batch[1:], score)
    largest = float(alone.pixels.abs().max())
    assert float((alone.pixels[0] - found.pixels[1]).abs().max()) <= 1e-6 * largest
    assert largest > 0
    after = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    assert after == before
    assert all(parameter.grad is None for parameter in checkpoint.model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_on_patches_in_float32_too(name: str) -> None:
    checkpoint = small(name)
    batch = noise(checkpoint)
    found = explain(checkpoint, batch, "attn-lrp", target=0)
    assert found.values.ndim == 3
    assert found.values.shape[0] == 2
    assert found.residual is not None
    assert not any("accounted" in note for note in found.notes)
    left = found.residual - sum(found.apart.values())
    size = abs(found.values).sum((1, 2)) + abs(found.score) + sum(map(abs, found.apart.values()))
    assert (abs(left) <= 1e-4 * size).all()  # float32: 4e-6 of the sums were seen to be lost


def test_the_gamma_rule_goes_through_convolutions_of_any_kind() -> None:
    for name in ("nextvit", "levit convolutional", "naflexvit"):
        network = NETWORKS[name]
        checkpoint = read(network.build().double(), network.size)
        found = relevance_of(checkpoint, noise(checkpoint), score, Rules(gamma=0.25))
        gap, size = found.gap()
        assert bool((gap.abs() <= 1e-11 * size).all())
