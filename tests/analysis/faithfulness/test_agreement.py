"""Agreement between maps, and of a method with itself."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import headscope as hs
from headscope.analysis.faithfulness import map_agreement, seed_stability


def test_a_map_agrees_with_itself_and_any_rising_change_of_it() -> None:
    maps = np.random.default_rng(0).random((3, 4, 5))
    found = map_agreement({"a": maps, "exp": np.exp(9 * maps), "turned": -maps})
    np.testing.assert_allclose(found.mean, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    fine = maps.repeat(3, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(map_agreement({"a": maps, "fine": fine}).rho, 1)


def test_it_is_the_mean_of_spearmans_over_images() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random((2, 6, 3, 3))
    found = map_agreement({"a": a, "b": b})
    expected = [spearmanr(x.ravel(), y.ravel())[0] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found.rho[0, 1], expected)
    np.testing.assert_allclose(found.mean[1, 0], np.mean(expected))
    assert found.names == ("a", "b")


def test_stability_is_the_mean_over_pairs_of_seeds() -> None:
    generator = np.random.default_rng(2)
    a, b, c = generator.random((3, 2, 4, 4))
    np.testing.assert_allclose(seed_stability([a, a, a]), 1)
    pairs = [map_agreement({"x": x, "y": y}).rho[0, 1] for x, y in ((a, b), (a, c), (b, c))]
    np.testing.assert_allclose(seed_stability([a, b, c]), np.mean(pairs, axis=0))


def test_what_cannot_be_compared_gets_a_sentence() -> None:
    maps = np.ones((2, 3, 3))
    with pytest.raises(hs.HeadscopeError, match="two seeds"):
        seed_stability([maps])
    with pytest.raises(hs.HeadscopeError, match="no maps"):
        map_agreement({})
    with pytest.raises(hs.HeadscopeError, match="b has the shape"):
        map_agreement({"a": maps, "b": maps[:1]})
