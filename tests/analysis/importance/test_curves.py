"""Cumulative curves: their ends, their closed forms, greedy, and the random band."""

from itertools import combinations

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance.curves import (
    greedy_curve,
    random_band,
    removal_curve,
    removal_curves,
)
from headscope.analysis.importance.headset import top_heads
from headscope.analysis.importance.removal import Removal
from headscope.analysis.importance.tables import area_rows, curve_rows

from .teamwork import JOBS, contents, logit_without, teamwork

HEADS = tuple(JOBS)


@pytest.fixture(scope="module")
def team():
    return teamwork()


@pytest.fixture(scope="module")
def batch(team, known_crops):
    return team.prepare(known_crops)


@pytest.fixture(scope="module")
def removal(team, batch):
    return Removal(team, batch, value="logit", target="held")


@pytest.fixture(scope="module")
def demo_batch(demo):
    return torch.randn(3, 3, *demo.preprocessing.size, generator=torch.manual_seed(0))


@pytest.fixture(scope="module")
def demo_removal(demo, demo_batch):
    return Removal(demo, demo_batch)


def test_a_curve_has_its_closed_form_at_every_step(removal, batch):
    order = [HEADS[i] for i in (4, 1, 3, 0, 6, 2, 5, 7)]
    curve = removal_curve(removal, order)
    m = contents(batch)
    expected = np.stack([logit_without(order[:k], m) for k in range(9)])
    np.testing.assert_allclose(curve.per_image, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(curve.n_removed, np.arange(9))
    np.testing.assert_allclose(curve.mean, expected.mean(1), atol=1e-12)
    np.testing.assert_allclose(
        curve.standard_error, expected.std(1, ddof=1) / np.sqrt(3), atol=1e-12
    )


def test_the_area_is_the_mean_height(removal, batch):
    curve = removal_curve(removal, [(0, 0), (1, 0), (0, 3)], steps=[2])
    m = contents(batch)
    heights = [
        logit_without(heads, m) for heads in ([], [(0, 0), (1, 0)], [*HEADS[:1], (1, 0), (0, 3)])
    ]
    expected = (2 * (heights[0] + heights[1]) / 2 + (heights[1] + heights[2]) / 2) / 3
    np.testing.assert_array_equal(curve.n_removed, [0, 2, 3])
    np.testing.assert_allclose(curve.area_per_image, expected, atol=1e-12)
    assert curve.area == pytest.approx(expected.mean(), abs=1e-12)


def test_the_ends_are_the_clean_model_and_no_heads_at_all(demo, demo_batch, demo_removal):
    clean = demo.run(demo_batch).double().softmax(-1)
    with hs.ablate(demo, demo_removal.heads):
        bare = demo.run(demo_batch).double().softmax(-1)
    target = clean.argmax(-1, keepdim=True)
    first, last = (p.gather(1, target)[:, 0].numpy() for p in (clean, bare))
    assert abs(first - last).min() > 1e-2
    n_heads = len(demo_removal.heads)
    scores = np.arange(n_heads, dtype=float).reshape(demo.n_layers, -1)
    curves = removal_curves(demo_removal, scores, n_random=2, steps=[5])
    for curve in (*curves.curves, *curves.band.curves):
        np.testing.assert_array_equal(curve.n_removed, [0, 5, n_heads])
        np.testing.assert_array_equal(curve.per_image[0], first)
        # float32 sums in another order, of probabilities
        np.testing.assert_allclose(curve.per_image[-1], last, rtol=0, atol=1e-5)


def test_most_and_least_important_first_are_opposite_orders(removal):
    scores = np.arange(8, dtype=float).reshape(2, 4)
    curves = removal_curves(removal, scores, metric="made up", n_random=0)
    most, least = curves.curves
    assert most.order == HEADS[::-1]
    assert least.order == HEADS
    assert most.name == "made up, most important first"
    assert curves.band is None


def test_scores_are_means_over_images_and_nan_is_left_out():
    scores = np.array([[[1.0, np.nan], [3.0, 2.0]], [[5.0, np.nan], [np.nan, 0.0]]])
    assert top_heads(scores) == ((0, 0), (1, 0), (1, 1))
    assert top_heads(scores, 1, largest=False) == ((1, 1),)
    with pytest.raises(hs.HeadscopeError, match="are not per head"):
        top_heads(np.zeros(3))
    with pytest.raises(hs.HeadscopeError, match="at least 1"):
        top_heads(scores, 0)


@pytest.mark.parametrize(("objective", "sign"), [("least", 1), ("most", -1)])
def test_greedy_takes_the_best_of_all_extensions_and_never_loses_to_an_order(
    demo_removal, objective, sign
):
    greedy = greedy_curve(demo_removal, objective=objective, n_steps=2)
    singles = {head: demo_removal([[head]])[0].mean() * sign for head in demo_removal.heads}
    assert max(singles.values()) - min(singles.values()) > 1e-3, "heads differ"
    first = greedy.order[0]
    # Variants run in other batches in float32: last digits of a probability.
    assert greedy.mean[1] * sign >= max(singles.values()) - 1e-6
    pairs = demo_removal([[first, head] for head in demo_removal.heads if head != first])
    assert greedy.mean[2] * sign >= (pairs.mean(1) * sign).max() - 1e-6
    # The order by the score itself is one of the orders that greedy looked at.
    by_score = sorted(singles, key=lambda head: -singles[head])
    assert greedy.mean[2] * sign >= demo_removal([by_score[:2]])[0].mean() * sign - 1e-6


def test_greedy_beats_the_order_by_importance_where_heads_back_each_other_up(removal):
    """Both backups look free alone: their order is the trap that greedy steps around."""
    alone = {head: removal.clean.mean() - removal([[head]])[0].mean() for head in HEADS}
    scores = np.array([[alone[layer, head] for head in range(4)] for layer in range(2)])
    by_score = removal_curve(removal, top_heads(scores, largest=False))
    greedy = greedy_curve(removal, objective="least")
    assert (greedy.mean >= by_score.mean - 1e-12).all()
    assert greedy.area > by_score.area + 0.1
    exhaustive = {
        k: max(removal([pair])[0].mean() for pair in combinations(HEADS, k)) for k in (1, 2)
    }
    assert greedy.mean[1] == pytest.approx(exhaustive[1], abs=1e-12)
    assert greedy.mean[2] == pytest.approx(exhaustive[2], abs=1e-12)
    most = greedy_curve(removal, objective="most", n_steps=3)
    assert most.order[0] in ((0, 1), (0, 2)), "a link of the chain alone costs most"


def test_greedy_breaks_ties_by_layer_and_head(removal):
    silent = greedy_curve(removal, n_steps=2, candidates=[(1, 3), (1, 2)])
    assert silent.order == ((1, 2), (1, 3))


def test_the_random_band_is_the_same_for_the_same_seed(removal):
    a, b, other = (random_band(removal, n_orders=6, seed=seed) for seed in (3, 3, 4))
    assert [c.order for c in a.curves] == [c.order for c in b.curves]
    assert [c.order for c in a.curves] != [c.order for c in other.curves]
    np.testing.assert_array_equal(a.band, b.band)
    assert a.band.shape == (3, 9)
    np.testing.assert_array_equal(a.band[:, 0], removal.clean.mean())
    means = np.stack([curve.mean for curve in a.curves])
    np.testing.assert_array_equal(a.band[1], np.median(means, axis=0))
    np.testing.assert_array_equal(a.areas, [curve.area for curve in a.curves])
    assert (np.diff(a.band, axis=0) >= 0).all()


def test_progress_is_told_after_every_order_and_step(removal):
    told = []
    removal_curves(
        removal,
        np.arange(8.0).reshape(2, 4),
        n_random=2,
        greedy=["least", "most"],
        n_greedy=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 8) for done in range(1, 9)]


def test_curves_as_rows(removal):
    scores = np.arange(8.0).reshape(2, 4)
    curves = removal_curves(removal, scores, n_random=2, quantiles=(0.1, 0.9), steps=[1])
    rows = curve_rows(curves)
    assert len(rows) == 2 * 3 + 2 * 3
    assert len({tuple(row) for row in rows}) == 1, "all rows have the same columns"
    first = rows[1]
    assert (first["n_removed"], first["layer"], first["head"]) == (1, 1, 3)
    assert first["value"] == curves.curves[0].mean[1]
    assert first["units"] == "logit"
    assert rows[-1]["curve"] == "random orders, quantile 0.9"
    areas = area_rows(curves)
    assert [row["area"] for row in areas[:2]] == [curve.area for curve in curves.curves]
    assert len(areas) == 4


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda r: removal_curve(r, [(0, 0), (0, 0)]), "more than once"),
        (lambda r: removal_curve(r, []), "names no head"),
        (lambda r: removal_curve(r, [(0, 0)], steps=[2]), "2 heads cannot be removed"),
        (lambda r: removal_curve(r, [(5, 0)]), "no layer 5"),
        (lambda r: random_band(r, n_orders=1), "make no band"),
        (lambda r: random_band(r, quantiles=(5,)), "from 0 to 1"),
        (lambda r: greedy_curve(r, objective="best"), "least, most"),
        (lambda r: greedy_curve(r, n_steps=9), "take 1 to 8"),
    ],
)
def test_what_cannot_be_drawn_gets_a_sentence(removal, call, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        call(removal)
