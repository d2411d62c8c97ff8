"""Heads matched by function, where it is known which is which."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.matching import match_heads, shared_images
from headscope.analysis.matching.distances import distances, similarity
from headscope.analysis.matching.match import CRITERIA, assign, combined
from headscope.models.demo.recipes import RECIPES
from headscope.models.demo.scenes import scene
from headscope.models.demo.weights import create

from .changing import begun_anew, of, permuted

N = 12
METRICS = ["hop_share", "offset_map", "share", "distance", "entropy_share", "nmi", "self_share"]


def studied(checkpoint: hs.Checkpoint, seeds: range = range(N)) -> hs.Study:
    images = [scene(seed).image for seed in seeds]
    return hs.analyze(checkpoint, images, metrics=METRICS, importance=False)


@pytest.fixture(scope="module")
def supervised() -> tuple[hs.Checkpoint, hs.Study]:
    checkpoint = hs.load("demo/supervised")
    return checkpoint, studied(checkpoint)


@pytest.fixture(scope="module")
def tiny() -> tuple[hs.Checkpoint, hs.Study]:
    """Another grid, another image size, other numbers of layers and heads, other classes."""
    checkpoint = hs.load("test_vit", pretrained=False)
    return checkpoint, studied(checkpoint)


def test_permuted_heads_are_found_again(supervised: tuple[hs.Checkpoint, hs.Study]) -> None:
    checkpoint, study = supervised
    other, orders = permuted(checkpoint, seed=4)
    assert any(order != sorted(order) for order in orders)
    found = match_heads(study, studied(other), checkpoints=(checkpoint, other))
    assert set(found.criteria) == set(CRITERIA)
    expected = {
        (layer, old): (layer, new) for layer, o in enumerate(orders) for new, old in enumerate(o)
    }
    assert found.partner == expected
    # The sums over heads are added in another order, in float32: 1e-3 is far above its rounding.
    assert min(pair.score for pair in found.pairs) > 1 - 1e-3
    assert not found.died
    assert not found.appeared
    assert not found.moved


def test_a_head_that_was_begun_anew_died_and_appeared(
    supervised: tuple[hs.Checkpoint, hs.Study],
) -> None:
    checkpoint, study = supervised
    other = begun_anew(checkpoint, 2, 1)
    found = match_heads(study, studied(other), checkpoints=(checkpoint, other))
    assert found.died == ((2, 1),)
    assert found.appeared == ((2, 1),)
    assert all(pair.first == pair.second for pair in found.pairs)
    rows = found.rows()
    assert [row["fate"] for row in rows].count("died") == 1
    assert len(rows) == 25
    assert "1 in the first only (died), 1 in the second only" in found.describe()


def test_random_weights_match_trained_ones_poorly(
    supervised: tuple[hs.Checkpoint, hs.Study],
) -> None:
    checkpoint, study = supervised
    random = of(create(RECIPES["supervised"]), checkpoint, "random")
    found = match_heads(study, studied(random), checkpoints=(checkpoint, random))
    assert len(found.pairs) <= 2  # random heads are twins of each other, so the null is strict
    scores = found.score[tuple(found.assigned.T)]
    assert np.median(scores) < 0.7


def test_other_numbers_of_heads_and_grids(
    supervised: tuple[hs.Checkpoint, hs.Study], tiny: tuple[hs.Checkpoint, hs.Study]
) -> None:
    (a, study_a), (b, study_b) = supervised, tiny
    found = match_heads(study_a, study_b, checkpoints=(a, b), threshold=0.0)
    n_a, n_b = sum(a.n_heads), sum(b.n_heads)
    assert n_a != n_b
    assert study_a.layout.patch_px != study_b.layout.patch_px
    assert found.score.shape == (n_a, n_b)
    assert set(found.criteria) == set(CRITERIA)
    for values in found.criteria.values():
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1).all()
    assert len(found.pairs) == min(n_a, n_b)
    assert len(found.died) == n_a - min(n_a, n_b)
    assert len(found.appeared) == n_b - min(n_a, n_b)
    back = match_heads(study_b, study_a, checkpoints=(b, a), threshold=0.0)
    # The same sums in another order: 1e-6 is far above the rounding of float32 outputs.
    np.testing.assert_allclose(back.score, found.score.T, atol=1e-6)
    assert back.threshold == found.threshold
    assert {pair.second: pair.first for pair in back.pairs} == found.partner


def test_relative_depth_tells_what_moved(
    supervised: tuple[hs.Checkpoint, hs.Study], tiny: tuple[hs.Checkpoint, hs.Study]
) -> None:
    found = match_heads(supervised[1], tiny[1], by=("strength",), threshold=0.0)
    for pair in found.pairs:
        depths = pair.first[0] / (found.n_layers[0] - 1), pair.second[0] / (found.n_layers[1] - 1)
        assert pair.shift == pytest.approx(depths[1] - depths[0])
        half = 0.5 / (min(found.n_layers) - 1)
        assert pair.moved == (abs(pair.shift) > half + 1e-9)


def test_what_cannot_be_told_is_left_out_with_the_reason(
    supervised: tuple[hs.Checkpoint, hs.Study],
) -> None:
    checkpoint, study = supervised
    found = match_heads(study, study, checkpoints=(checkpoint, "it vanished"))
    assert set(found.criteria) == {"strength"}
    assert "it vanished" in found.left_out["output"]
    assert "it vanished" in found.left_out["pattern"]
    assert "Left out: pattern, as" in found.describe()
    with pytest.raises(hs.HeadscopeError, match="cannot be compared"):
        match_heads(study, study, by=("output",), checkpoints=(None, None))
    with pytest.raises(hs.HeadscopeError, match="got 'looks'"):
        match_heads(study, study, by=("looks",))
    with pytest.raises(hs.HeadscopeError, match="above 0"):
        match_heads(study, study, weights={"strength": -1})


def test_weights_count(supervised: tuple[hs.Checkpoint, hs.Study]) -> None:
    checkpoint, study = supervised
    found = match_heads(study, study, weights={"output": 3}, checkpoints=(checkpoint, checkpoint))
    parts = found.criteria
    expected = (parts["strength"] + parts["pattern"] + 3 * parts["output"]) / 5
    np.testing.assert_allclose(found.score, expected)


def test_few_images_are_compared_within(supervised: tuple[hs.Checkpoint, hs.Study]) -> None:
    checkpoint, _ = supervised
    study = studied(checkpoint, range(1))
    other, orders = permuted(checkpoint, seed=1)
    found = match_heads(study, studied(other, range(1)), checkpoints=(checkpoint, other))
    assert found.n_images == 1
    assert found.told_by["output"] == ("8 × 8 places of each image",)
    assert {found.partner[layer, o[0]] for layer, o in enumerate(orders)} == {
        (layer, 0) for layer in range(6)
    }


def test_images_are_shared_by_digest(supervised: tuple[hs.Checkpoint, hs.Study]) -> None:
    checkpoint, study = supervised
    other = studied(checkpoint, range(N - 2, N + 4))
    images = shared_images((study, other))
    assert images.tolist() == [[N - 2, N - 1], [0, 1]]
    assert match_heads(study, other, by=("strength",)).n_images == 2
    difference = hs.compare(study, other, "distance", shared_only=True)
    assert difference.n_images == 2
    assert float(difference.whole.mean[0]) == 0
    with pytest.raises(hs.HeadscopeError, match="different images"):
        hs.compare(study, other, "distance")
    with pytest.raises(hs.HeadscopeError, match="no image in common"):
        match_heads(study, studied(checkpoint, range(50, 52)))


def test_patterns_of_a_study_are_the_space(
    supervised: tuple[hs.Checkpoint, hs.Study], tmp_path: Path
) -> None:
    from headscope.analysis.patterns import fit_patterns

    checkpoint, study = supervised
    kept = study.save(tmp_path / "kept.zarr")
    fit_patterns(kept, umap=False).save(kept)
    found = match_heads(kept, study, by=("pattern",), checkpoints=(None, checkpoint))
    assert found.told_by["pattern"] == ("patterns of the first study",)
    assert all(pair.first == pair.second for pair in found.pairs)
    # Its own maps are in half precision, and so are those that are read anew.
    assert np.diag(found.score).min() == pytest.approx(1, abs=1e-3)


# -- what it is made of ----------------------------------------------------------------------------


def naive_distance(values: np.ndarray, a: int, b: int) -> float:
    squares = [
        (x - y) ** 2
        for x, y in zip(values[:, a].ravel(), values[:, b].ravel(), strict=True)
        if np.isfinite(x) and np.isfinite(y)
    ]
    return float(np.mean(squares)) if squares else np.nan


def test_distances_are_those_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(5, 3, 4)) + 9, generator.normal(size=(5, 2, 4)) + 9
    first[0, 1] = np.nan
    first[:2, 2] = second[2:, 1] = np.nan
    first[2:, 2, 3] = np.nan
    values = np.concatenate([first, second], axis=1)
    naive = np.array([[naive_distance(values, a, b) for b in range(5)] for a in range(5)])
    apart = ~np.eye(5, dtype=bool) & np.isfinite(naive)
    found = distances([first, second])
    np.testing.assert_allclose(found, naive / naive[apart].mean(), atol=1e-12)
    assert np.nanmean(found[apart]) == pytest.approx(1)
    assert np.isnan(found[2, 4])  # never a number in the same image
    alike = similarity([found])
    assert alike[2, 2] == pytest.approx(1)
    np.testing.assert_allclose(alike[apart], np.exp(-found[apart]))


def test_heads_that_are_all_alike_tell_nothing() -> None:
    same = np.full((4, 3, 2), 0.1)
    assert np.isnan(distances([same, same])).all()


def test_the_assignment_is_the_best_of_all() -> None:
    generator = np.random.default_rng(1)
    score = generator.random((3, 5))
    score[0, 3] = np.nan
    best = max(
        permutations(range(5), 3),
        key=lambda columns: np.nan_to_num(score[range(3), columns], nan=-9).sum(),
    )
    assert assign(score).tolist() == [[row, column] for row, column in enumerate(best)]
    assert assign(score.T).tolist() == sorted([column, row] for row, column in enumerate(best))
    own = assign(generator.random((4, 4)) + np.eye(4), np.eye(4, dtype=bool))
    assert all(row != column for row, column in own)
    assert len(assign(np.full((1, 1), 1.0), np.eye(1, dtype=bool))) == 0


def test_criteria_that_are_missing_do_not_count() -> None:
    parts = {"x": np.array([[0.2, np.nan]]), "y": np.array([[0.8, np.nan]])}
    found = combined(parts | {"z": np.array([[np.nan, np.nan]])}, {"x": 1, "y": 2, "z": 5})
    assert found[0, 0] == pytest.approx((0.2 + 2 * 0.8) / 3)
    assert np.isnan(found[0, 1])
