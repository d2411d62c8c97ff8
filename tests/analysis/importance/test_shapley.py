"""Shapley values: exact by enumeration, the sum, null and symmetric heads, sampling errors."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance.removal import Removal
from headscope.analysis.importance.shapley import shapley_values
from headscope.analysis.importance.tables import shapley_rows

from .teamwork import BACKUP, CHAIN, JOBS, SLOPE, WITHIN, contents, teamwork

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
def demo_removal(demo):
    batch = torch.randn(2, 3, *demo.preprocessing.size, generator=torch.manual_seed(0))
    return Removal(demo, batch)


def by_enumeration(removal, players):
    """φ(i) = Σ over S without i of |S|!(n − |S| − 1)!/n! · (v(S ∪ i) − v(S)), each S on its own."""
    n, others = len(players), set(players)

    def v(present):
        return removal([others - set(present)])[0]

    values = []
    for player in players:
        rest = [other for other in players if other != player]
        values.append(
            sum(
                (v([*present, player]) - v(present)) / (n * comb(n - 1, size))
                for size in range(n)
                for present in combinations(rest, size)
            )
        )
    return np.stack(values, axis=1)


def closed_form(m):
    """Each game is a sum of small ones: backups and links share evenly, the rest keep their own."""
    worth = {"backup": BACKUP / 2, "chain": CHAIN / 2, "silent": 0.0}
    return np.stack(
        [SLOPE[job] * m if job in SLOPE else worth[job] + 0 * m for job in JOBS.values()], 1
    )


def test_enumeration_has_the_closed_form(removal, batch):
    """The naive replica itself, on the heads that work together."""
    players = [(0, 0), (1, 0), (0, 1), (0, 2), (1, 2)]
    expected = closed_form(contents(batch))[:, [HEADS.index(head) for head in players]]
    np.testing.assert_allclose(by_enumeration(removal, players), expected, atol=1e-12)


@pytest.mark.parametrize("antithetic", [True, False])
def test_sampled_values_lie_within_their_standard_errors(removal, batch, antithetic):
    shapley = shapley_values(removal, n_orders=64, antithetic=antithetic, seed=2)
    expected = closed_form(contents(batch))
    # Four standard errors: 1 in 16,000 a head; where the error is 0, rounding.
    distance = np.abs(shapley.values - expected.mean(0))
    assert (distance <= 4 * shapley.standard_error + 1e-12).all()
    np.testing.assert_allclose(shapley.per_image.mean(0), shapley.values, atol=1e-12)
    if antithetic:
        # In an order and its reverse each of two backups is first once: they share exactly.
        np.testing.assert_allclose(shapley.per_image, expected, atol=1e-12)
    else:
        assert shapley.standard_error[0] > 0.05


def test_backups_share_evenly_though_each_alone_is_free(removal):
    shapley = shapley_values(removal, n_orders=8)
    first, second = (shapley.values[HEADS.index(head)] for head in ((0, 0), (1, 0)))
    assert first == pytest.approx(BACKUP / 2, abs=1e-12)
    assert second == pytest.approx(BACKUP / 2, abs=1e-12)


@pytest.mark.parametrize("value", ["probability", "logit", "accuracy", "margin"])
@pytest.mark.parametrize("jobs", [JOBS, WITHIN])
def test_a_head_with_a_projection_of_zero_has_exactly_zero(batch, value, jobs):
    shapley = shapley_values(Removal(teamwork(jobs), batch, value=value), n_orders=6)
    silent = [index for index, head in enumerate(HEADS) if jobs[head] == "silent"]
    assert (shapley.per_image[:, silent] == 0).all()
    assert (shapley.standard_error[silent] == 0).all()
    assert (shapley.values != 0).any()


@pytest.mark.parametrize("antithetic", [True, False])
def test_every_order_sums_to_the_whole(demo_removal, antithetic):
    shapley = shapley_values(demo_removal, n_orders=2, antithetic=antithetic)
    bare = demo_removal([demo_removal.heads])[0]
    whole = demo_removal.clean - bare
    assert abs(whole).min() > 1e-3
    # The same float64 numbers added and taken away: rounding of a few 1e-16 a head.
    np.testing.assert_allclose(shapley.samples.sum(1), whole.mean(), atol=1e-13)
    np.testing.assert_allclose(shapley.per_image.sum(1), whole, atol=1e-13)
    assert abs(shapley.residual) < 1e-13
    assert shapley.whole == pytest.approx(whole.mean(), abs=1e-15)


def test_sampling_agrees_with_enumeration_on_a_real_model(demo, demo_removal):
    players = [(0, 0), (1, 1), (demo.n_layers - 1, 0), (demo.n_layers - 1, 1)]
    exact = by_enumeration(demo_removal, players).mean(0)
    shapley = shapley_values(demo_removal, players, n_orders=40, seed=1)
    assert np.ptp(exact) > 1e-4, "heads differ"
    # Four standard errors, and float32 sums in another order.
    assert (np.abs(shapley.values - exact) <= 4 * shapley.standard_error + 1e-6).all()


def test_one_player_is_worth_its_leave_one_out_effect(demo_removal):
    shapley = shapley_values(demo_removal, [(1, 0)], n_orders=1, antithetic=False)
    np.testing.assert_array_equal(
        shapley.per_image[:, 0], demo_removal.clean - demo_removal([[(1, 0)]])[0]
    )
    assert np.isnan(shapley.standard_error).all()


def test_the_same_seed_gives_the_same_values(removal):
    a, b, other = (shapley_values(removal, n_orders=4, seed=s, antithetic=False) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.samples, b.samples)
    assert (a.samples != other.samples).any()


def test_truncation_gives_up_less_than_its_limit(removal, monkeypatch):
    from headscope.analysis.importance import shapley as module

    monkeypatch.setattr(module, "COALITIONS_AT_ONCE", 3)
    full = shapley_values(removal, n_orders=8, seed=0)
    cut = shapley_values(removal, n_orders=8, seed=0, truncate=0.4)
    never = shapley_values(removal, n_orders=8, seed=0, truncate=0.0)
    assert full.n_truncated == 0
    assert cut.n_truncated > 0
    assert 0 < abs(cut.residual) <= 0.4
    np.testing.assert_allclose(never.values, full.values, atol=1e-12)


def test_shapley_as_rows_with_progress(removal):
    told = []
    shapley = shapley_values(removal, n_orders=4, progress=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = shapley_rows(shapley)
    assert {(row["layer"], row["head"]) for row in rows[:2]} == {(0, 0), (1, 0)}
    assert [row["shapley"] for row in rows] == sorted(shapley.values, reverse=True)
    assert rows[0]["units"] == "logit"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_orders": 3}, "even number"),
        ({"n_orders": 0, "antithetic": False}, "at least 1"),
        ({"heads": []}, "at least one"),
        ({"heads": [(0, 0), (0, 0)]}, "each once"),
        ({"heads": [(7, 0)]}, "no layer 7"),
        ({"truncate": -1.0}, "0 or more"),
    ],
)
def test_what_cannot_be_sampled_gets_a_sentence(removal, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        shapley_values(removal, **options)
