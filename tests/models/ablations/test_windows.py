"""Ablations where queries do not reach all keys."""

import pytest
import torch

import headscope as hs
from headscope.models.ablations import ablation
from headscope.models.replay import Replay


def test_uniform_attention_does_not_cross_the_mask_of_shifted_windows():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    replay = Replay(swin, torch.randn(1, 3, 112, 112, generator=torch.manual_seed(0)))
    attention = replay.attention(1)
    assert attention.of.kind == "shifted windows"
    allowed = attention.weights[0, 0] > 1e-20
    assert allowed.sum() < attention.layout.reach.sum(), "the mask forbids some pairs of windows"
    expected = (allowed / allowed.sum(-1, keepdim=True)) @ attention.value[:, 0]
    given = ablation("uniform").apply(attention, [0])
    torch.testing.assert_close(given[:, 0], expected)
    torch.testing.assert_close(given[:, 1:], attention.head_output[:, 1:])


def test_a_reference_of_another_input_size_is_refused():
    small, large = (hs.load("pvt_v2_b0", pretrained=False, image_size=size) for size in (64, 96))
    reference = hs.reference(small, torch.randn(2, 3, 64, 64))
    with (
        pytest.raises(hs.HeadscopeError, match="inputs of"),
        hs.ablate(large, [(0, 0)], mode="mean", reference=reference),
    ):
        pass
