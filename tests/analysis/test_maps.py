"""Attention maps in bytes."""

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.maps import map_bytes


@pytest.fixture(scope="module")
def crop(small):
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def swin():
    """Shifted windows, and more heads and fewer tokens in later layers."""
    return hs.load("swin_tiny_patch4_window7_224", pretrained=False, seed=1, image_size=(96, 128))


@pytest.fixture(scope="module")
def wide():
    return np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def swin_maps(swin, wide):
    return hs.attention_maps(swin, wide)


def half_a_level(weights):
    """What rounding to 255 levels may move a weight by; float32 rounds the scaled value."""
    return weights.max(-1, keepdims=True) / 510 * (1 + 1e-4) + 1e-7


def test_maps_are_right_to_half_a_level(small, crop):
    maps = hs.attention_maps(small, crop)
    assert [layer.weights.shape for layer in maps.layers] == [(3, 1, 16, 16)] * 12
    for layer, of in zip(hs.capture(small, small.prepare(crop[None])), maps.layers, strict=True):
        exact = layer.weights[0].numpy()
        np.testing.assert_allclose(of.row_max[:, 0], exact.max(-1), rtol=1e-6)
        for head in range(3):
            assert (np.abs(of.dense(head) - exact[head]) <= half_a_level(exact[head])).all()
        np.testing.assert_allclose(of.mean, exact.mean(1), rtol=1e-5)


def test_windows_are_kept_as_windows_and_read_by_token(swin, wide, swin_maps):
    assert max(len(of.layout.query_tokens) for of in swin_maps.layers) > 1
    assert swin_maps.n_bytes < 4 * map_bytes(swin)
    for layer, of in zip(hs.capture(swin, swin.prepare(wide[None])), swin_maps.layers, strict=True):
        exact = layer.weights[0].numpy()
        token = layer.queries.n_tokens // 3
        # Padding is the sum of several keys of a window, each rounded.
        several = max((keys == layer.keys.n_tokens - 1).sum() for keys in of.layout.key_tokens)
        limit = half_a_level(exact) * max(1, several)
        assert (np.abs(of.row(token) - exact[:, token]) <= limit[:, token]).all()
        assert (np.abs(of.dense(1) - exact[1]) <= limit[1]).all()
        np.testing.assert_allclose(of.mean, exact.mean(1), atol=1e-6)


def test_chosen_heads_are_those_of_the_whole(small, crop):
    whole = hs.attention_maps(small, crop)
    chosen = hs.attention_maps(small, crop, heads=[(11, 0), (0, 2)])
    assert whole.is_whole
    assert not chosen.is_whole
    for layer, head in ((11, 0), (0, 2)):
        assert chosen.layers[layer].heads == (head,)
        np.testing.assert_array_equal(
            chosen.layers[layer].dense(head), whole.layers[layer].dense(head)
        )
    assert chosen.layers[3].weights.size == 0
    assert chosen.n_bytes < whole.n_bytes
    with pytest.raises(hs.HeadscopeError, match="no layer 12"):
        hs.attention_maps(small, crop, heads=[(12, 0)])


def test_a_query_that_is_asked_for_is_there_for_every_head(swin, wide, swin_maps):
    tokens = [layer.layout.queries.n_tokens - 2 for layer in swin.layers]
    asked = hs.attention_maps(swin, wide, heads=(), queries=[*tokens[:-1], None])
    for of, whole, token in zip(asked.layers[:-1], swin_maps.layers, tokens, strict=False):
        exact = of.row(token)
        assert exact.sum(-1) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(exact, whole.row(token), atol=5 / 510)
    assert asked.layers[-1].rows == {}
