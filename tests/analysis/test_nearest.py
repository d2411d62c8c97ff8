"""The heads that are most like a head."""

import numpy as np

from headscope.analysis.nearest import nearest_heads


def test_the_most_similar_come_first_and_never_the_head_itself():
    rng = np.random.default_rng(0)
    similarity = rng.uniform(-1, 1, (3, 4, 3, 4))
    similarity[1, 2:] = np.nan  # a layer of two heads
    similarity[..., 1, 2:] = np.nan
    similarity[0, 0, 2] = np.nan  # not comparable with a whole layer
    found = nearest_heads(similarity, 3)
    for layer, head in np.ndindex(3, 4):
        others = {
            (a, b): similarity[layer, head, a, b]
            for a, b in np.ndindex(3, 4)
            if (a, b) != (layer, head) and not np.isnan(similarity[layer, head, a, b])
        }
        expected = sorted(others, key=lambda at: -others[at])[:3]
        assert [tuple(at) for at in found.heads[layer, head].tolist() if at[0] >= 0] == expected
        values = found.values[layer, head][: len(expected)]
        np.testing.assert_array_equal(values, [others[at] for at in expected])
        assert np.isnan(found.values[layer, head][len(expected) :]).all()


def test_there_are_no_more_than_there_are_heads():
    found = nearest_heads(np.ones((1, 2, 1, 2)), 3)
    assert found.heads[0, :, 0].tolist() == [[0, 1], [0, 0]]
    assert (found.heads[0, :, 1:] == -1).all()
