"""Derivatives by attention are right in every family."""

import pytest
import torch

import headscope as hs
from headscope.models.batch_norm import sound_batch_norm
from headscope.models.gradients import attention_gradients

from .networks import NETWORKS, noise, read, small


def score(output: torch.Tensor) -> torch.Tensor:
    """Something of every number of the output."""
    return (output * torch.linspace(1, 2, output.shape[-1])).sum(-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pass_is_the_models_own_and_heads_add_up(name: str) -> None:
    checkpoint = small(name)
    batch = noise(checkpoint)
    before = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    found = attention_gradients(checkpoint, batch, score)
    # The product is formed step by step in the place of a fused kernel: float32 rounding.
    torch.testing.assert_close(found.output, checkpoint.run(batch), rtol=1e-4, atol=1e-4)
    assert [layer.layer for layer in found.layers] == list(range(checkpoint.n_layers))
    some = 0.0
    for layer in found.layers:
        weights, slope = layer.attention.mixed_weights, layer.gradient.mixed_weights
        assert weights.shape == slope.shape
        assert layer.attention.head_output.shape == layer.gradient.head_output.shape
        some += float(slope.abs().sum())
        # dS/dA = dS/do · vᵀ within a window, so Σ A dS/dA = Σ o dS/do, head by head.
        # Window by window: padding is many keys there, and one token in the dense map.
        a = layer.attention.window_weights.double() * layer.gradient.window_weights.double()
        o = layer.attention.head_output.double() * layer.gradient.head_output.double()
        # Sums of some thousand float32 products.
        limit = 1e-4 * float(a.abs().sum((1, 3, 4)).max()) + 1e-9
        # Outputs of padding are no token's; in a cascade of heads they matter to the next one.
        padded = bool((layer.attention.layout.query_tokens < 0).any())
        if not padded and not checkpoint.layers[layer.layer].mixed:
            assert float((a.sum((1, 3, 4)) - o.sum((-1, -2))).abs().max()) <= limit
    assert some > 0
    after = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    assert after == before
    assert all(parameter.grad is None for parameter in checkpoint.model.parameters())


def test_derivatives_are_those_of_small_steps(known: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, *known.preprocessing.size, dtype=torch.float64)
    found = attention_gradients(known, batch, lambda output: output[:, 0])
    slope = found.layers[0].gradient.weights
    value = found.layers[0].attention.value[:, :, :, 0]
    # Layer 1 adds nothing, so the logit is linear in the class rows: heads 2 and 3 count.
    expected = torch.zeros_like(slope)
    expected[:, 2, 0] = 2 * value[:, 2]
    expected[:, 3, 0] = -0.5 * value[:, 3]
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("name", ["levit", "xcit", "efficientformer", "iformer"])
def test_derivatives_of_one_image_are_those_it_has_in_a_batch(name: str) -> None:
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    batch = noise(checkpoint)

    def slope(of: torch.Tensor) -> torch.Tensor:
        leaf = of.clone().requires_grad_()
        with sound_batch_norm():
            total = score(checkpoint.model(leaf)).sum()
        return torch.autograd.grad(total, leaf)[0]

    def score(output: torch.Tensor) -> torch.Tensor:
        return output[:, 0]

    both, alone = slope(batch), slope(batch[1:])
    torch.testing.assert_close(alone[0], both[1], rtol=1e-9, atol=1e-12)  # float64 rounding
    found = attention_gradients(checkpoint, batch[1:], score)
    in_batch = attention_gradients(checkpoint, batch, score)
    for layer, other in zip(found.layers, in_batch.layers, strict=True):
        torch.testing.assert_close(
            layer.gradient.weights[0], other.gradient.weights[1], rtol=1e-9, atol=1e-12
        )
