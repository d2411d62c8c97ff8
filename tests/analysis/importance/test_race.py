"""The race for the top heads: what it decides, and by simulation that it is right."""

import numpy as np
import pytest
from scipy import stats

from headscope import HeadscopeError
from headscope.analysis.importance.evidence import FIRST_LOOK, draw_order
from headscope.analysis.importance.race import Race, run_until


def race_of(scores, *, weights=None, seed=0, batch=5, **options):
    """Run a race over given scores, `image, …heads`; the race and its result."""
    race = Race(np.ones(scores.shape[1:], bool), draw_order(len(scores), weights, seed), **options)
    return race, run_until(lambda images, active: scores[images][:, active], race, batch=batch)


def top(scores, k):
    mean = scores.mean(0)
    order = np.argsort(-mean, axis=None, kind="stable")[:k]
    return {tuple(map(int, np.unravel_index(place, mean.shape))) for place in order}


def separate(rng, n_images=200, n_heads=12, gap=0.1):
    """Scores in [0, 1] whose means are a gap apart from head to head."""
    return np.clip(gap * np.arange(n_heads) + 0.15 * rng.normal(size=(n_images, n_heads)), 0, 2) / 2


# ----- races -----


@pytest.mark.parametrize("options", [{}, {"bound": 1.0}])
def test_clear_heads_are_known_from_few_images(options):
    scores = separate(np.random.default_rng(0))
    race, result = race_of(scores, k=4, **options)
    assert result.decided
    assert result.top == [(11,), (10,), (9,), (8,)]
    assert FIRST_LOOK < result.n_images < 200
    assert result.share_of_ablations < result.n_images / 200
    assert (race.inside | race.outside).all()
    assert not (race.inside & race.outside).any()


@pytest.mark.parametrize("options", [{}, {"bound": 1.0}])
def test_when_all_images_are_seen_the_race_is_exact(options):
    """Two heads that differ by rounding only, in the order of the full run; a tie by place."""
    scores = np.random.default_rng(0).uniform(size=(40, 3, 2))
    scores[:, 1, 1] = scores[:, 0, 1] + 1e-9
    scores[:, 2] = scores[:, [1, 0], [0, 0]]
    race, result = race_of(scores, k=3, **options)
    assert result.n_images == 40
    assert set(result.top) == top(scores, 3)
    bounds = race.bounds
    complete = bounds.n_images == 40
    assert complete.any()
    np.testing.assert_allclose(bounds.mean[complete], scores.mean(0)[complete], rtol=1e-12)
    assert (bounds.low == bounds.high)[complete].all()


SCENARIOS = {
    "near ties": lambda rng, n: (rng.normal(size=(n, 4)), None),
    "skewed": lambda rng, n: (rng.exponential(size=(n, 4)), None),
    "yes or no": lambda rng, n: ((rng.random((n, 4)) < 0.3) * 1.0, None),
    "heavy tails": lambda rng, n: (rng.standard_t(3, size=(n, 4)), None),
    "against the tail": lambda rng, n: (
        np.stack([rng.exponential(size=n), np.ones(n), *rng.normal(size=(2, n))], 1),
        None,
    ),
    "known scale": lambda rng, n: scaled(rng, n, 1.0),
    "scale half known": lambda rng, n: scaled(rng, n, 0.5),
}


def scaled(rng, n, power):
    weights = 10 ** rng.uniform(-3, 0, n)
    return (weights**power)[:, None] * rng.normal(1, 3, size=(n, 4)), weights


N_RACES = 100
ALLOWED = stats.binom.ppf(0.999, N_RACES, 0.05)
"""At an error rate of 5 %, 100 races have more errors in one test of 1,000."""


def nearly_tied(scenario):
    """The same scores moved to means that are 1e-6 apart: the race has nothing to go by."""

    def moved(rng, n):
        scores, weights = scenario(rng, n)
        return scores - scores.mean(0) + 1e-6 * np.arange(scores.shape[1]), weights

    return moved


def number_wrong(scenario, **options):
    wrong = 0
    for seed in range(N_RACES):
        scores, weights = scenario(np.random.default_rng(seed), 200)
        _, result = race_of(scores, weights=weights, seed=seed, k=1, batch=10, **options)
        wrong += set(result.top) != top(scores, 1)
    return wrong


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_large_sample_guarantee_holds(name):
    scenario = nearly_tied(SCENARIOS[name])
    assert number_wrong(scenario, confidence=0.2) > ALLOWED, "the premise: errors can happen"
    assert number_wrong(scenario) <= ALLOWED


def test_the_bounded_guarantee_holds_at_the_ends_of_the_range():
    scenario = nearly_tied(SCENARIOS["yes or no"])
    assert number_wrong(scenario, bound=1.0, confidence=0.2) > ALLOWED / 2, "errors can happen"
    assert number_wrong(scenario, bound=1.0) <= ALLOWED


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.4])
def test_the_bounded_guarantee_holds_where_few_images_decide(gap):
    """Nearly all scores near 0, and 1 % of the images carry everything: large samples err here."""

    def rare(rng, n):
        scores = 0.01 * rng.random((n, 3)) + (rng.random((n, 3)) < 0.01) * rng.random((n, 3)) * 0.9
        scores[:, 2] = scores[:, 2] * 0.5 + gap * rng.random(n)
        return scores, None

    if gap == 0:
        assert number_wrong(rare) > ALLOWED, "the premise: this is where it takes a bound"
    assert number_wrong(rare, bound=1.0) <= ALLOWED


def test_the_guarantee_holds_for_many_heads_at_once():
    """Twelve heads in clusters, the cut through the middle of one."""
    wrong = early = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = np.repeat([0.0, 2, 4], 4) + rng.exponential(size=(150, 12))
        _, result = race_of(scores, seed=seed, k=6, batch=10)
        wrong += set(result.top) != top(scores, 6)
        early += result.share_of_ablations < 0.9
    assert early == 60, "the premise: heads of other clusters are decided early"
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.parametrize("options", [{}, {"bound": 2.0}])
def test_indifference_ends_ties_and_says_so(options):
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 0.5, 0.5, 0.0]) + rng.uniform(-0.1, 0.1, size=(600, 4))
    _, exact = race_of(scores, k=2, **options)
    race, result = race_of(scores, k=2, indifference=0.1, **options)
    assert result.n_images < exact.n_images
    assert result.top[0] == (0,)
    assert result.interchangeable == [(1,), (2,)]
    assert exact.interchangeable == []
    left_out = scores.mean(0)[race.outside].max()
    assert left_out <= scores.mean(0)[race.inside].min() + 0.1


def test_indifference_is_kept_as_promised():
    wrong = early = 0
    for seed in range(60):
        scores = np.random.default_rng(seed).normal(size=(300, 5))
        race, result = race_of(scores, seed=seed, k=2, batch=10, indifference=0.3)
        mean = scores.mean(0)
        wrong += mean[race.outside].max() > mean[race.inside].min() + 0.3
        early += result.n_images < 300
    assert early > 30, "the premise: the indifference ends races"
    assert wrong <= stats.binom.ppf(0.999, 60, 0.05)


def test_intervals_for_display_hold_all_means_at_all_times():
    missed = 0
    for seed in range(60):
        scores = np.random.default_rng(seed).exponential(size=(120, 5))
        race = Race(np.ones(5, bool), draw_order(120, seed=seed), k=2)
        inside, mean = [], scores.mean(0)

        def look(race, inside=inside, mean=mean):
            bounds = race.bounds
            error = 1e-12  # of rounding, once all images are seen
            inside.append(((bounds.low <= mean + error) & (mean <= bounds.high + error)).all())

        run_until(lambda images, active, s=scores: s[images][:, active], race, on_batch=look)
        missed += not all(inside[FIRST_LOOK // 10 :])
    assert missed <= stats.binom.ppf(0.999, 60, 0.05)


# ----- the interface -----


def test_the_scorer_may_skip_what_is_decided():
    scores = separate(np.random.default_rng(1), n_heads=8).reshape(200, 2, 4)
    asked = []

    def scorer(images, active):
        asked.append(int(active.sum()))
        return np.where(active, scores[images], np.nan)

    race = Race(np.ones((2, 4), bool), draw_order(200, seed=5), k=3)
    result = run_until(scorer, race, batch=10)
    assert asked[0] == 8
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < 8
    assert result.share_of_ablations == pytest.approx(sum(asked) * 10 / (200 * 8))
    assert result.top == [(1, 3), (1, 2), (1, 1)]


def test_heads_that_a_layer_lacks_take_no_part():
    scores = separate(np.random.default_rng(1), n_heads=6).reshape(200, 2, 3)
    scores[:, 1, 2] = np.nan
    race = Race(np.isfinite(scores[0]), draw_order(200), k=2)
    assert run_until(lambda images, _: scores[images], race).top == [(1, 1), (1, 0)]
    bounds = race.bounds
    assert np.isnan([bounds.mean[1, 2], bounds.low[1, 2], bounds.high[1, 2]]).all()


def test_a_race_for_as_many_heads_as_there_are_is_decided_at_once():
    race = Race(np.ones((1, 3), bool), draw_order(5), k=10)
    assert race.decided
    assert race.result.n_images == 0
    assert len(race.result.top) == 3


def test_a_stopped_race_goes_on():
    scores = separate(np.random.default_rng(2))
    whole = race_of(scores, k=3, seed=7)[1]
    race = Race(np.ones(12, bool), draw_order(200, seed=7), k=3)

    def stop(race):
        if race.n_images == 20:
            raise KeyboardInterrupt

    def scorer(images, active):
        return scores[images][:, active]

    with pytest.raises(KeyboardInterrupt):
        run_until(scorer, race, batch=5, on_batch=stop)
    assert not race.decided
    assert np.isfinite(race.bounds.mean).all()
    assert run_until(scorer, race, batch=5) == whole


def test_what_makes_no_sense_is_refused():
    present, order = np.ones(4, bool), draw_order(10)
    for options, match in (
        ({"k": 0}, "at least 1"),
        ({"confidence": 95}, "95 must lie"),
        ({"bound": 0}, "bound 0"),
        ({"indifference": -1}, "-1"),
    ):
        with pytest.raises(HeadscopeError, match=match):
            Race(present, order, **options)
    race = Race(present, order, k=2)
    for scores, match in (
        (np.zeros((2, 3)), "4 undecided heads"),
        (np.zeros((11, 4)), "10 images left"),
        (np.full((2, 4), np.nan), "not finite"),
    ):
        with pytest.raises(HeadscopeError, match=match):
            race.update(scores)
    with pytest.raises(HeadscopeError, match="batch of 0"):
        run_until(lambda *_: np.zeros((1, 4)), race, batch=0)
