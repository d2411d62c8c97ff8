"""Evidence about pairs of heads: orders, closed forms, and wealth that cannot grow by chance."""

import numpy as np
import pytest
from scipy import stats

from headscope import HeadscopeError
from headscope.analysis.importance import evidence
from headscope.analysis.importance.evidence import (
    FIRST_LOOK,
    Bounded,
    LargeSample,
    draw_order,
    mixing_scale,
    uncertainty,
)

# ----- orders -----


def test_an_order_holds_every_image_once_and_knows_what_is_left():
    weights = np.random.default_rng(0).exponential(size=50)
    order = draw_order(50, weights, seed=1)
    assert sorted(order.index) == list(range(50))
    scaled = weights / weights.mean()
    np.testing.assert_allclose(order.weight, scaled[order.index])
    for step in range(50):
        np.testing.assert_allclose(order.left[step], scaled[order.index[step:]].sum())
    assert (order.index != draw_order(50, weights, seed=2).index).any()


def test_heavier_images_come_first_as_often_as_they_weigh():
    weights = np.array([1.0, 2, 5])
    first = [draw_order(3, weights, seed).index[0] for seed in range(2_000)]
    share = np.bincount(first, minlength=3) / 2_000
    # Binomial error of 2,000 draws is about 1 point.
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.04)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_draw_expects_the_mean_over_all_images(weighted):
    """E[draw] over all orders = mean: at the first draw, and given any past."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=4), rng.exponential(size=4) if weighted else np.ones(4)
    weights /= weights.mean()
    for past in ([], [2], [2, 0], [2, 0, 3]):
        left = [i for i in range(4) if i not in past]
        total = weights[left].sum()
        draws = [(x[past].sum() + x[i] * total / weights[i]) / 4 for i in left]
        np.testing.assert_allclose(np.average(draws, weights=weights[left]), x.mean())


def test_uncertainty_is_what_the_other_classes_have():
    logits = np.array([[0.0, np.log(3)], [50.0, 0], [800.0, -800]])
    expected = [0.25, 1e-6, 1e-6]
    np.testing.assert_allclose(uncertainty(logits), expected)


# ----- evidence -----


def naive_log_mixture(draws, precision, rho2):
    """The mixture by numerical integration over the half-normal bets."""
    z = (precision * draws).sum() / np.sqrt(((precision * draws) ** 2).sum())
    r = rho2 * precision.sum()
    # ∫ 2 φ(s) exp(√r s z − r s² / 2) ds over s > 0
    s = np.linspace(0, 40, 400_001)
    values = 2 * stats.norm.pdf(s) * np.exp(np.sqrt(r) * s * z - r * s**2 / 2)
    return np.log(np.trapezoid(values, s))


@pytest.fixture
def drawn():
    """Two heads on 40 of 80 images, and every draw of their difference, naively."""
    rng = np.random.default_rng(0)
    x = 0.3 * np.array([1, 0]) + rng.normal(size=(40, 2))
    order = draw_order(80, rng.exponential(size=80), seed=3)
    draws = [
        ((x[:step, 0] - x[:step, 1]).sum() + (a - b) * order.left[step] / order.weight[step]) / 80
        for step, (a, b) in enumerate(x)
    ]
    return x, order, np.array(draws)


def large_sample(x, order, shift=0.0):
    result = LargeSample(2, order, shift, alpha=0.05)
    for row in x:
        result.add(row)
    return result


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_large_sample_evidence_is_the_half_normal_mixture(drawn, monkeypatch, shift):
    monkeypatch.setattr(evidence, "CLIP", 1e9)
    x, order, draws = drawn
    ours = large_sample(x, order, shift)
    rho2 = mixing_scale(order, 0.05)
    for pair, sign in (((0, 1), 1), ((1, 0), -1)):
        expected = naive_log_mixture(sign * draws + shift, order.precision[:40], rho2)
        assert ours.log()[pair] == pytest.approx(expected, rel=1e-6)
    assert ours.log()[0, 1] > ours.log()[1, 0]


def test_cutting_a_draw_only_lowers_the_sum(drawn):
    x, order, _ = drawn
    x[30] = 50, 0  # a surprise in favour of head 0
    cut, both = large_sample(x, order), large_sample(x[:, ::-1], order)
    assert both.log()[1, 0] == cut.log()[0, 1], "heads have no order"
    # The surprise against head 1 counts in full.
    assert -cut._sum[1, 0] > cut._sum[0, 1] > 0


def test_nothing_is_sure_before_the_first_look(drawn):
    x, order, _ = drawn
    assert (large_sample(x[: FIRST_LOOK - 1], order).log() == -np.inf).all()


def test_bounded_evidence_is_wealth_that_cannot_grow_on_average():
    """All orders of a small set without a difference: the mean wealth is at most 1 at all times."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 12)
    x -= x.mean()
    wealth = []
    for seed in range(400):
        order = draw_order(12, seed=seed)
        bets = Bounded(2, order, shift=0.0, bound=2.0)
        path = []
        for value in x[order.index]:
            path.append(np.exp(bets._wealth[0, 1]))
            bets.add(np.array([value, 0]))
        wealth.append(path)
    mean, error = np.mean(wealth, 0), np.std(wealth, 0) / 20
    assert np.std(wealth) > 0.01, "the premise: bets are made"
    # It is exactly 1 in expectation; five standard errors for twelve times.
    assert (np.abs(mean - 1) <= 5 * error + 1e-12).all()


def test_weights_must_be_positive():
    with pytest.raises(HeadscopeError, match="positive numbers"):
        draw_order(3, np.array([1.0, 0, 2]))
