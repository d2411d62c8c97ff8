"""Axes and layouts, read off places that are written by hand."""

import numpy as np
import pytest
import torch

from headscope.models.geometry import Axes, UnplacedError, place_attention
from headscope.models.places import PAYLOADS

SIZE = (40, 40)


def line(*tokens):
    """Places of tokens, as payloads; None is padding."""
    columns = [
        (0.0, 0.0, 0.0, 0.0) if token is None else (1.0, token[0], token[1], 0.0)
        for token in tokens
    ]
    return torch.tensor(columns, dtype=torch.float64).T


PATCHES = [(10.0 + 20 * row, 10.0 + 20 * column) for row in range(2) for column in range(2)]
TOP, BOTTOM = line(*PATCHES[:2]), line(*PATCHES[2:])


@pytest.mark.parametrize("windows_first", [True, False])
def test_windows_and_heads_in_one_axis_are_told_apart(windows_first):
    """SAM has images × windows × heads in the first axis; others could have heads × windows."""
    runs = [TOP, TOP, TOP, BOTTOM, BOTTOM, BOTTOM] if windows_first else [TOP, BOTTOM] * 3
    places = torch.stack(runs, 1).flatten(0, 1)
    geometry = place_attention(places, places, SIZE, ())
    assert geometry.kind == "horizontal stripes"
    assert geometry.axes.merged == ((2, 3) if windows_first else (3, 2))
    assert (geometry.axes.n_windows, geometry.axes.n_heads) == (2, 3)
    np.testing.assert_array_equal(geometry.layout.query_tokens, [[0, 1], [2, 3]])

    raw = torch.arange(2 * 6 * 2 * 2.0).reshape(12, 2, 2)  # two images
    folded = geometry.axes.fold(raw)
    assert folded.shape == (2, 2, 3, 2, 2)
    assert torch.equal(geometry.axes.unfold(folded), raw)
    by_hand = raw.reshape(2, *((2, 3) if windows_first else (3, 2)), 2, 2)
    assert torch.equal(folded, by_hand if windows_first else by_hand.transpose(1, 2))


def test_axes_fold_and_unfold_whatever_their_order():
    axes = Axes((2,), (2, 5, 3), windows=(2, 0), heads=(1,))
    raw = torch.randn(4, 5, 3, 7, 6, generator=torch.manual_seed(0))
    folded = axes.fold(raw)
    assert folded.shape == (2, 6, 5, 7, 6)
    assert torch.equal(folded[1, 2 * 2 + 1, 4], raw[1 * 2 + 1, 4, 2])
    assert torch.equal(axes.unfold(folded), raw)


def test_padding_is_one_token_among_keys_and_none_among_queries():
    places = torch.stack([line(*PATCHES[:3]), line(PATCHES[3], None, None)], 1).flatten(0, 1)
    geometry = place_attention(places, places, SIZE, ())
    assert geometry.layout.keys.kinds == (*["patch"] * 4, "padding")
    np.testing.assert_array_equal(geometry.layout.query_tokens, [[0, 1, 2], [3, -1, -1]])
    np.testing.assert_array_equal(geometry.layout.key_tokens, [[0, 1, 2], [3, 4, 4]])


def test_channels_are_no_tokens():
    place = line((20.0, 20.0)).expand(PAYLOADS, 4)
    with pytest.raises(UnplacedError, match="channel attention"):
        place_attention(place, place, SIZE, ())
