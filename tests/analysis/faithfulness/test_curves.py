"""Deletion and insertion against closed forms and a naive loop."""

import itertools

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain.perturbing import ranking
from headscope.analysis.explain.target import Target
from headscope.analysis.faithfulness import deletion_insertion
from headscope.analysis.faithfulness.cells import onto
from headscope.analysis.faithfulness.covering import Covering

from .games import contributions, noise, target


def test_curves_of_a_linear_score_are_sums(known: hs.Checkpoint) -> None:
    batch = noise()
    parts = contributions(batch)
    curves = deletion_insertion(
        known, batch, parts, target(batch), steps=16, quantity="score", batch_size=5
    )
    clean = known.run(batch)[:, 0].numpy()
    gone = np.sort(parts.reshape(3, -1), axis=1)[:, ::-1].cumsum(1)
    expected = clean[:, None] - np.concatenate([np.zeros((3, 1)), gone], axis=1)
    # float64; the known ViT leaves e⁻⁶⁰ for keys that are not attended to.
    np.testing.assert_allclose(curves.most_first, expected, atol=1e-12)
    np.testing.assert_allclose(curves.share, np.arange(17) / 16)
    by_hand = (expected[:, 1:] + expected[:, :-1]).sum(1) / 2 / 16
    np.testing.assert_allclose(curves.deletion_area, by_hand, atol=1e-12)
    # Insertion: nothing, then the largest parts come back.
    back = clean[:, None] - parts.reshape(3, -1).sum(1, keepdims=True)
    expected = np.concatenate([back, back + gone], axis=1)
    np.testing.assert_allclose(curves.insertion, expected, atol=1e-12)
    np.testing.assert_allclose(curves.share_shown, np.arange(17) / 16)
    np.testing.assert_allclose(
        curves.difference, curves.insertion_area - curves.deletion_area, atol=1e-15
    )


def test_no_order_is_better_than_that_of_the_true_parts(known: hs.Checkpoint) -> None:
    batch = noise(1)
    parts = contributions(batch)
    assert np.ptp(parts) > 0
    best = deletion_insertion(known, batch, parts, target(batch), steps=16, quantity="score")
    generator = np.random.default_rng(0)
    for _ in range(20):
        other = generator.permutation(16).reshape(1, 4, 4)
        found = deletion_insertion(known, batch, other, target(batch), steps=16, quantity="score")
        assert found.deletion_area >= best.deletion_area - 1e-12
        assert found.insertion_area <= best.insertion_area + 1e-12
    worst = deletion_insertion(known, batch, -parts, target(batch), steps=16, quantity="score")
    np.testing.assert_allclose(worst.difference, -best.difference, atol=1e-12)


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_a_naive_loop_agrees_and_batches_do_not_matter(small: hs.Checkpoint, fill: str) -> None:
    batch = torch.randn(3, 3, *small.preprocessing.size, generator=torch.manual_seed(1))
    aim = Target("logits", classes=torch.tensor([0, 7, 0]), against=torch.tensor([1, 2, 5]))
    maps = np.random.default_rng(0).integers(0, 4, (3, 3, 5)).astype(float)  # with ties
    one = deletion_insertion(small, batch, maps, aim, steps=4, fill=fill, batch_size=1)
    many = deletion_insertion(small, batch, maps, aim, steps=4, fill=fill, batch_size=64)
    # float32 sums in another order.
    np.testing.assert_allclose(one.most_first, many.most_first, atol=1e-5)
    np.testing.assert_allclose(one.least_first, many.least_first, atol=1e-5)
    assert one.quantity == "probability"

    covering = Covering(small, batch, aim, fill=fill)
    order = ranking(maps, seed=0)
    for image, (step, share) in itertools.product(range(3), enumerate(one.share)):
        mask = np.zeros((3, 5), bool)
        for cell in order[image, : round(share * 15)]:
            mask[divmod(int(cell), 5)] = True
        hidden = covering._fill[image].clone()
        for row, column in np.argwhere(~mask):
            box = (
                slice(None),
                slice(16 * row, 16 * row + 16),
                slice(16 * column, 16 * column + 16),
            )
            hidden[box] = batch[image][box]
        logits = small.run(hidden[None])[0].double()
        a, b = (int(aim.classes[image]), int(aim.against[image]))  # type: ignore[index]
        probability = float(torch.sigmoid(logits[a] - logits[b]))
        assert one.most_first[image, step] == pytest.approx(probability, abs=1e-5)


def test_ties_are_broken_by_lot(known: hs.Checkpoint) -> None:
    batch = noise(1)
    flat, areas = np.zeros((1, 4, 4)), []
    for seed in (0, 0, 1):
        found = deletion_insertion(
            known, batch, flat, target(batch), steps=16, quantity="score", seed=seed
        )
        areas.append(float(found.deletion_area[0]))
    assert areas[0] == areas[1] != areas[2]


def test_maps_come_to_cells_by_area() -> None:
    maps = np.random.default_rng(0).random((2, 6, 9))
    np.testing.assert_allclose(onto(maps, (3, 3)), maps.reshape(2, 3, 2, 3, 3).mean((2, 4)))
    np.testing.assert_array_equal(onto(maps, (6, 9)), maps)
    # A ramp of three cells on two: (2·0 + 1·1) / 3 and (1·1 + 2·2) / 3.
    np.testing.assert_allclose(onto(np.array([[[0.0, 1, 2]]]), (1, 2)), [[[1 / 3, 5 / 3]]])
    np.testing.assert_allclose(onto(maps, (4, 5)).mean((1, 2)), maps.mean((1, 2)))


def test_what_does_not_fit_gets_a_sentence(known: hs.Checkpoint) -> None:
    batch, parts = noise(), contributions(noise())
    with pytest.raises(hs.HeadscopeError, match="shape"):
        deletion_insertion(known, batch, parts[:2], target(batch))
    holes = parts.copy()
    holes[1, 0, 0] = np.nan
    with pytest.raises(hs.HeadscopeError, match="1 of 3"):
        deletion_insertion(known, batch, holes, target(batch))
    with pytest.raises(hs.HeadscopeError, match="fill 'gold'"):
        deletion_insertion(known, batch, parts, target(batch), fill="gold")
    with pytest.raises(hs.HeadscopeError, match="0 steps"):
        deletion_insertion(known, batch, parts, target(batch), steps=0)
    features = Target("likeness", features=torch.ones(3, 2, dtype=torch.float64))
    with pytest.raises(hs.HeadscopeError, match="no probability"):
        deletion_insertion(known, batch, parts, features, quantity="probability")
    found = deletion_insertion(known, batch, parts, features)
    assert found.quantity == "score"


def test_progress_is_told_and_can_stop(known: hs.Checkpoint) -> None:
    batch, told = noise(), []
    deletion_insertion(
        known, batch, contributions(batch), target(batch), batch_size=8, progress=told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deletion_insertion(known, batch, contributions(batch), target(batch), progress=stop)
    assert known.lock.acquire(blocking=False)
    known.lock.release()
