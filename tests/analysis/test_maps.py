"""Attention maps in bytes."""

import numpy as np
import pytest

import headscope as hs


@pytest.fixture(scope="module")
def crop(small):
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_maps_are_right_to_half_a_level(small, crop):
    maps = hs.attention_maps(small, crop)
    assert maps.weights.shape == (12, 3, 16, 16)
    for layer in hs.capture(small, small.prepare(crop[None])):
        exact = layer.weights[0].numpy()
        row_max = maps.row_max[layer.layer][..., None]
        np.testing.assert_allclose(row_max[..., 0], exact.max(-1), rtol=1e-6)
        error = np.abs(maps.weights[layer.layer] / 255 * row_max - exact)
        assert (error <= row_max / 510 * (1 + 1e-4)).all()  # float32 rounds the scaled value


def test_chosen_heads_are_those_of_the_whole(small, crop):
    whole = hs.attention_maps(small, crop)
    chosen = hs.attention_maps(small, crop, heads=[(11, 0), (0, 2)])
    assert np.array_equal(chosen.weights, whole.weights[[11, 0], [0, 2]])
    assert chosen.n_bytes < whole.n_bytes
    with pytest.raises(hs.HeadscopeError, match="no layer 12"):
        hs.attention_maps(small, crop, heads=[(12, 0)])
