"""Synergy: backups, chains, heads that add up, and heads that do nothing."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance.headset import heads_of_layers
from headscope.analysis.importance.removal import Removal
from headscope.analysis.importance.synergy import pairwise_synergy
from headscope.analysis.importance.tables import synergy_rows

from .teamwork import BACKUP, BAR, CHAIN, JOBS, WITHIN, contents, probability_without, teamwork

HEADS = tuple(JOBS)


def place(head):
    return HEADS.index(head)


@pytest.mark.parametrize(
    ("jobs", "backups", "chain"),
    [
        (JOBS, ((0, 0), (1, 0)), ((0, 1), (0, 2))),
        (WITHIN, ((0, 1), (0, 3)), ((0, 0), (1, 2))),
    ],
)
def test_synergy_of_logits_is_known_for_every_pair(known_crops, jobs, backups, chain):
    team = teamwork(jobs)
    removal = Removal(team, team.prepare(known_crops), value="logit", target="held")
    synergy = pairwise_synergy(removal, HEADS)
    alone = synergy.alone.mean(0)
    for head in backups:
        assert alone[place(head)] == pytest.approx(0, abs=1e-12), "a backup alone is free"
    expected = np.zeros((8, 8))
    i, j = map(place, backups)
    expected[i, j] = expected[j, i] = BACKUP  # 4 together − 0 − 0
    assert synergy.together[:, i, j] == pytest.approx(BACKUP, abs=1e-12)
    i, j = map(place, chain)
    expected[i, j] = expected[j, i] = -CHAIN  # 2 together − 2 − 2: either breaks it
    np.fill_diagonal(expected, np.nan)
    # All else adds up: 0 but for rounding, of logits below 10 in float64.
    np.testing.assert_allclose(
        synergy.per_image, np.broadcast_to(expected, (3, 8, 8)), rtol=0, atol=1e-12
    )


def test_synergy_of_probabilities_has_its_closed_form(known_crops):
    team = teamwork()
    batch = team.prepare(known_crops)
    synergy = pairwise_synergy(Removal(team, batch, target="held"), HEADS)
    m = contents(batch)

    def effect(heads):
        return probability_without([], m) - probability_without(heads, m)

    for i, a in enumerate(HEADS):
        for j, b in enumerate(HEADS):
            if i != j:
                expected = effect([a, b]) - effect([a]) - effect([b])
                np.testing.assert_allclose(synergy.per_image[:, i, j], expected, atol=1e-12)
    mean, error = synergy.mean, synergy.standard_error
    np.testing.assert_array_equal(mean, mean.T)
    off = ~np.eye(8, dtype=bool)
    expected = synergy.per_image.std(0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(error[off], expected[off], atol=1e-15)
    assert np.isnan(np.diag(mean)).all()
    assert mean[place((0, 0)), place((1, 0))] > 0.2, "the backups stand out in probability too"
    assert effect([(0, 0)]).max() < 1e-12
    assert BAR < BACKUP + CHAIN


@pytest.mark.parametrize("jobs", [JOBS, WITHIN])
def test_a_silent_head_has_no_synergy_at_all(known_crops, jobs):
    team = teamwork(jobs)
    synergy = pairwise_synergy(Removal(team, team.prepare(known_crops)), HEADS)
    silent = [place(head) for head, job in jobs.items() if job == "silent"]
    assert (synergy.alone[:, silent] == 0).all()
    others = [i for i in range(8) if i not in silent]
    assert (synergy.per_image[:, silent][:, :, others] == 0).all()


def test_synergy_equals_the_naive_loop_over_pairs(demo):
    batch = torch.randn(2, 3, *demo.preprocessing.size, generator=torch.manual_seed(0))
    heads = [(0, 0), (0, 2), (demo.n_layers - 1, 1), (2, 1)]
    synergy = pairwise_synergy(Removal(demo, batch), heads)
    clean = demo.run(batch).double().softmax(-1)
    target = clean.argmax(-1, keepdim=True)

    def effect(removed):
        with hs.ablate(demo, removed):
            p = demo.run(batch).double().softmax(-1)
        return (clean - p).gather(1, target)[:, 0].numpy()

    for i, a in enumerate(heads):
        np.testing.assert_allclose(synergy.together[:, i, i], effect([a]), atol=1e-5)
        for j, b in enumerate(heads):
            if i != j:
                expected = effect([a, b]) - effect([a]) - effect([b])
                # float32 sums in another order, of probabilities
                np.testing.assert_allclose(synergy.per_image[:, i, j], expected, atol=1e-5)
    assert synergy.same_layer.tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]


def test_synergy_as_rows(known_crops):
    team = teamwork()
    removal = Removal(team, team.prepare(known_crops), value="logit", target="held")
    told = []
    synergy = pairwise_synergy(removal, HEADS, progress=lambda *step: told.append(step))
    rows = synergy_rows(synergy)
    assert told == [(28, 28)]
    assert len(rows) == 28
    top = rows[0]
    assert (top["layer_a"], top["head_a"], top["layer_b"], top["head_b"]) == (0, 0, 1, 0)
    assert top["synergy"] == pytest.approx(BACKUP)
    assert top["synergy"] == top["effect_together"] - (top["effect_a"] + top["effect_b"])
    assert rows[1]["synergy"] == pytest.approx(-CHAIN)
    assert rows[1]["same_layer"]
    assert not top["same_layer"]


def test_heads_of_layers_and_what_has_no_pairs(known_crops):
    team = teamwork()
    removal = Removal(team, team.prepare(known_crops))
    assert heads_of_layers(team, [1]) == tuple((1, head) for head in range(4))
    with pytest.raises(hs.HeadscopeError, match="no layer 2"):
        heads_of_layers(team, [2])
    for heads in ([(0, 0)], [(0, 0), (0, 0), (1, 1)]):
        with pytest.raises(hs.HeadscopeError, match="at least two"):
            pairwise_synergy(removal, heads)
