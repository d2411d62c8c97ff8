"""Intervals and paired tests: closed forms, scipy, naive replicas, coverage on simulated data."""

import itertools

import numpy as np
import pytest
from scipy import stats

from headscope import HeadscopeError
from headscope.analysis.importance.intervals import (
    against_all,
    benjamini_hochberg,
    bootstrap_interval,
    compare_heads,
    holm,
    t_interval,
    top_pairs,
)

INTERVALS = [t_interval, bootstrap_interval]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_constant_has_an_interval_without_width(interval):
    result = interval(np.full((12, 2, 3), 0.1))
    for part in (result.mean, result.low, result.high):
        # The sum of twelve times 0.1 is rounded.
        np.testing.assert_allclose(part, np.full((2, 3), 0.1), rtol=1e-15)
    assert (result.low == result.high).all()
    assert result.reason == ""


def test_the_t_interval_is_the_one_of_scipy(rng):
    scores = rng.normal(size=(20, 3))
    result = t_interval(scores, 0.9)
    for head in range(3):
        expected = stats.ttest_1samp(scores[:, head], 0).confidence_interval(0.9)
        np.testing.assert_allclose((result.low[head], result.high[head]), expected, rtol=1e-12)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_the_bootstrap_is_the_one_of_scipy(rng, method):
    scores = rng.exponential(size=(30, 2))
    ours = bootstrap_interval(scores, method=method, n_resamples=20_000)
    theirs = stats.bootstrap(
        (scores,), np.mean, axis=0, method=method, n_resamples=20_000, rng=rng
    ).confidence_interval
    # BCa reads the upper end of skewed scores near the 99.5 % quantile: from 20,000 resamples it is
    # known to √(0.005 / 20,000) / φ(2.6) = 0.04 standard errors, on both sides; four times that.
    error = 0.2 * scores.std(0) / np.sqrt(len(scores))
    assert (np.abs(ours.low - theirs.low) < error).all()
    assert (np.abs(ours.high - theirs.high) < error).all()


@pytest.mark.parametrize("interval", INTERVALS)
def test_intervals_hold_the_mean_as_often_as_they_say(rng, interval):
    """Each head is a study of its own: 2,000 of them."""
    result = interval(rng.normal(size=(40, 2_000)))
    held = ((result.low <= 0) & (result.high >= 0)).mean()
    # Binomial error of 2,000 at 95 % is 0.5 points; t is exact, the bootstrap lacks the factor
    # n / (n − 1) and the tails of t: 1.5 points for 40 images.
    assert 0.95 - 0.02 - 0.015 * (interval is bootstrap_interval) < held < 0.95 + 0.02


def test_skewed_scores_are_served_better_by_bca(rng):
    scores = rng.exponential(size=(25, 2_000)) ** 2
    held = {}
    for method in ("bca", "percentile"):
        result = bootstrap_interval(scores, method=method)
        held[method] = ((result.low <= 2) & (result.high >= 2)).mean()
    assert held["percentile"] < held["bca"] < 0.95


def test_heads_share_the_resampled_images(rng):
    scores = rng.normal(size=(20, 1))
    result = bootstrap_interval(np.concatenate([scores, scores + 1], 1), method="percentile")
    np.testing.assert_allclose(result.low[1] - result.low[0], 1, rtol=1e-12)


def test_images_and_heads_without_scores_do_not_count(rng):
    scores = rng.normal(size=(30, 2, 2))
    scores[:, 1, 1] = np.nan
    scores[20:, 0, 0] = np.nan
    for interval in INTERVALS:
        result = interval(scores)
        assert result.n_images.tolist() == [[20, 30], [30, 0]]
        np.testing.assert_allclose(result.mean[0, 0], scores[:20, 0, 0].mean(), rtol=1e-12)
        assert np.isnan([result.mean[1, 1], result.low[1, 1], result.high[1, 1]]).all()
        assert np.isfinite(result.low[0]).all()
    alone = t_interval(scores[:20, :1, :1])
    np.testing.assert_allclose(t_interval(scores).high[0, 0], alone.high[0, 0], rtol=1e-12)


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("n_images", [1, 2])
def test_too_few_images_give_no_false_interval(rng, interval, n_images):
    result = interval(rng.normal(size=(n_images, 2, 2)))
    assert np.isfinite(result.mean).all()
    assert np.isnan(result.low).all()
    assert np.isnan(result.high).all()
    assert f"{n_images} image(s) are too few" in result.reason


def test_the_sign_flip_test_is_exact_for_few_images(rng):
    scores = rng.normal(size=(6, 3)) + np.array([0, 0.8, 1.5])
    pairs = [((1,), (0,)), ((2,), (0,)), ((1,), (2,))]
    result = compare_heads(scores, pairs, correction="none")
    for index, ((a,), (b,)) in enumerate(pairs):
        d = scores[:, a] - scores[:, b]
        means = [np.abs(np.mean(d * f)) for f in itertools.product((-1, 1), repeat=6)]
        assert result.p[index] == np.mean(np.array(means) >= np.abs(d.mean()) - 1e-12)
    assert len(set(result.p)) > 1, "the premise: pairs differ"


def test_drawn_flips_come_near_to_all_flips(rng):
    scores = rng.normal(size=(10, 2)) + np.array([0.7, 0])
    pair = [((0,), (1,))]
    exact = compare_heads(scores, pair).p[0]
    drawn = compare_heads(scores, pair, n_flips=1_000).p[0]
    assert exact > 0
    # Standard error √(p (1 − p) / 1,000), four times.
    assert abs(exact - drawn) < 4 * np.sqrt(exact / 1_000) + 1 / 1_000


def test_the_t_test_is_the_one_of_scipy(rng):
    scores = rng.normal(size=(15, 3))
    scores[:, 2] = scores[:, 0]
    result = compare_heads(scores, [((0,), (1,)), ((0,), (2,))], test="t", correction="none")
    assert result.p[0] == pytest.approx(stats.ttest_rel(scores[:, 0], scores[:, 1]).pvalue)
    assert result.p[1] == 1, "the same head"


@pytest.mark.parametrize("test", ["sign-flip", "t"])
def test_heads_that_are_alike_are_found_different_as_often_as_the_level_says(rng, test):
    scores = rng.normal(size=(12, 4_000))
    pairs = [((i,), (i + 1,)) for i in range(0, 4_000, 2)]
    p = compare_heads(scores, pairs, test=test, correction="none").p
    # Binomial error of 2,000 at 5 % is 0.5 points.
    assert abs((p < 0.05).mean() - 0.05) < 0.02


def test_one_image_tells_no_heads_apart():
    result = compare_heads(np.array([[1.0, 2.0]]), [((0,), (1,))])
    assert np.isnan(result.p).all()
    assert "too few" in result.reason
    assert compare_heads(np.array([[1.0, 2.0]] * 2), [((0,), (1,))]).p[0] == 0.5


def test_corrections_by_hand():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(holm(p), [0.03, 0.06, np.nan, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, np.nan, 0.04, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_families_of_pairs():
    scores = np.array([[[0.1, 0.5], [0.3, np.nan]]] * 3)
    assert top_pairs(scores, 2) == [((0, 1), (1, 0))]
    assert len(top_pairs(scores, 10)) == 3, "a head without scores is no head"
    assert against_all(scores, (0, 0)) == [((0, 0), (0, 1)), ((0, 0), (1, 0))]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(HeadscopeError, match=r"1\.5 must lie between"):
        t_interval(np.zeros((3, 2)), 1.5)
    with pytest.raises(HeadscopeError, match="one or more images"):
        bootstrap_interval(np.zeros((0, 2)))
    with pytest.raises(HeadscopeError, match="at least one"):
        compare_heads(np.zeros((3, 2)), [])
