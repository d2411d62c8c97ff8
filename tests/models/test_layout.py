"""Token layout: where each token is."""

import numpy as np
import pytest

import headscope as hs

LAYOUT = hs.TokenLayout(("class", "register", "register", *["patch"] * 6), (2, 3), (10, 20))


def test_tokens_by_kind():
    assert LAYOUT.n_tokens == 9
    assert LAYOUT.n_prefix == 3
    assert LAYOUT.present_kinds == ("class", "register", "patch")
    assert LAYOUT.tokens("register").tolist() == [1, 2]
    assert list(LAYOUT.labels()) == [
        "class",
        "register 0",
        "register 1",
        "patch 0, 0",
        "patch 0, 1",
        "patch 0, 2",
        "patch 1, 0",
        "patch 1, 1",
        "patch 1, 2",
    ]


def test_distances_are_euclidean_in_pixels_and_hops_chebyshev_in_patches():
    # patch 0 is at row 0, column 0; patch 5 at row 1, column 2
    assert LAYOUT.distances[0, 5] == pytest.approx(np.hypot(10, 40))
    assert LAYOUT.hops[0].tolist() == [0, 1, 2, 1, 1, 2]
    assert LAYOUT.n_hops == 3
    assert LAYOUT.centres[5].tolist() == [15, 50]


def test_a_grid_that_does_not_hold_the_patches_is_an_error():
    with pytest.raises(ValueError, match="2×2 needs 4"):
        hs.TokenLayout(("class", "patch"), (2, 2), (16, 16))
