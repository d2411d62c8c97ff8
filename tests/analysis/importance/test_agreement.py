"""Rank agreement: scipy, a naive replica, and rankings that rank nothing."""

import numpy as np
import pytest
from scipy import stats

from headscope import HeadscopeError
from headscope.analysis.importance.agreement import rank_agreement, spearman


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(4, 5))
    return {
        "drop": base + rng.normal(size=(30, 4, 5)),
        "divergence": base + rng.normal(size=(30, 4, 5)),
        "reversed": -base + rng.normal(size=(30, 4, 5)),
    }


def naive_tau_b(a, b):
    agree = ties_a = ties_b = n = 0
    for i in range(len(a)):
        for j in range(i):
            x, y = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
            agree, n = agree + x * y, n + 1
            ties_a, ties_b = ties_a + (x == 0), ties_b + (y == 0)
    return agree / np.sqrt((n - ties_a) * (n - ties_b))


def test_tau_is_that_of_scipy_and_of_the_naive_count(scores):
    result = rank_agreement(scores, n_resamples=50)
    means = [values.mean(0).ravel() for values in scores.values()]
    assert all(np.ptp(mean) > 0 for mean in means), "the premise: no ranking is constant"
    for i, a in enumerate(means):
        for j, b in enumerate(means):
            assert result.tau[i, j] == pytest.approx(stats.kendalltau(a, b).statistic)
            assert result.tau[i, j] == pytest.approx(naive_tau_b(a, b))
    assert result.tau[0, 1] > 0.2 > -0.2 > result.tau[0, 2]


def test_ties_are_counted_as_tau_b_does():
    a, b = np.array([[1.0, 1, 2, 3, 3, 4]]), np.array([[2.0, 1, 2, 2, 3, 5]])
    expected = stats.kendalltau(a[0], b[0]).statistic
    assert rank_agreement({"a": a, "b": b}).tau[0, 1] == pytest.approx(expected)
    assert naive_tau_b(a[0], b[0]) == pytest.approx(expected)


def test_the_interval_holds_the_estimate_and_shrinks_with_images(scores):
    few = rank_agreement({name: values[:8] for name, values in scores.items()})
    many = rank_agreement({name: np.tile(v, (10, 1, 1)) for name, v in scores.items()})
    for result in (few, many):
        off = ~np.eye(3, dtype=bool)
        assert (result.low <= result.tau).all()
        assert (result.tau <= result.high).all()
        assert (result.low[off] < result.high[off]).all()
        assert (np.diag(result.low) == 1).all(), "a ranking agrees with itself"
    assert (many.high - many.low)[0, 1] < (few.high - few.low)[0, 1]


def test_the_interval_holds_the_true_tau_about_as_often_as_documented():
    rng, n_studies, held = np.random.default_rng(1), 60, 0
    for seed in range(n_studies):
        base = rng.normal(size=(2, 24))
        base[1] = 0.9 * base[0] + 0.44 * base[1]
        true = stats.kendalltau(*base).statistic
        a, b = (mean + rng.normal(size=(100, 24)) for mean in base)
        result = rank_agreement({"a": a, "b": b}, n_resamples=100, seed=seed)
        held += result.low[0, 1] <= true <= result.high[0, 1]
    # 87 % at least, less three binomial errors of 4.3 points; the quantiles alone hold 28 %.
    assert held / n_studies > 0.87 - 0.13


def test_rankings_without_an_order_agree_with_nothing(scores):
    result = rank_agreement({**scores, "flat": np.zeros((30, 4, 5))}, n_resamples=20)
    assert np.isnan(result.tau[3]).all()
    assert np.isnan(result.low[3]).all()
    assert list(result.reasons) == ["flat"]
    assert "All 20 heads score 0" in result.reasons["flat"]
    assert np.isfinite(result.tau[:3, :3]).all()


def test_heads_that_one_ranking_lacks_do_not_count(scores):
    scores["divergence"][:, 3, 2:] = np.nan
    result = rank_agreement(scores, n_resamples=20)
    kept = np.isfinite(scores["divergence"].mean(0))
    a, b = (scores[name].mean(0)[kept] for name in ("drop", "divergence"))
    assert result.tau[0, 1] == pytest.approx(stats.kendalltau(a, b).statistic)
    assert np.isfinite(result.low[0, 1])


def test_few_images_give_no_false_interval(scores):
    result = rank_agreement({name: values[:2] for name, values in scores.items()})
    assert np.isfinite(result.tau).all()
    assert np.isnan(result.low).all()


def test_spearman_is_that_of_scipy(scores):
    a, b = scores["drop"].mean(0), scores["divergence"].mean(0)
    result = spearman(a, b)
    assert result.value == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic)
    assert (result.n_heads, result.reason) == (20, "")
    a[0, 0] = np.nan
    assert spearman(a, b).n_heads == 19
    flat = spearman(a, np.ones_like(b))
    assert np.isnan(flat.value)
    assert "no order" in flat.reason


def test_what_cannot_be_compared_is_refused(scores):
    with pytest.raises(HeadscopeError, match="same images and heads"):
        rank_agreement({"a": scores["drop"], "b": scores["drop"][:, :3]})
    with pytest.raises(HeadscopeError, match="at least one"):
        rank_agreement({})
    with pytest.raises(HeadscopeError, match="20 and 5"):
        spearman(np.zeros((4, 5)), np.zeros(5))
