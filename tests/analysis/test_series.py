"""Heads followed through several checkpoints."""

import gc
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import headscope as hs
from headscope.analysis.changes import changed_predictions
from headscope.analysis.series import series
from headscope.models.demo.scenes import scene

from .matching.changing import begun_anew, permuted

in_a_row: Any = sys.modules[series.__module__]
METRICS = ["hop_share", "offset_map", "distance", "entropy_share", "nmi", "self_share"]
IMAGES = [scene(seed).image for seed in range(10)]


def studied(checkpoint: hs.Checkpoint, n: int = len(IMAGES)) -> hs.Study:
    return hs.analyze(checkpoint, IMAGES[:n], metrics=METRICS, importance=False)


@pytest.fixture(scope="module")
def run() -> tuple[list[hs.Checkpoint], list[hs.Study], list[list[int]]]:
    """As it is, then in another order, then with one of its heads begun anew."""
    first = hs.load("demo/supervised")
    second, orders = permuted(first, seed=3)
    checkpoints = [first, second, begun_anew(second, 3, 2)]
    return checkpoints, [studied(checkpoint) for checkpoint in checkpoints], orders


def test_heads_are_followed(
    run: tuple[list[hs.Checkpoint], list[hs.Study], list[list[int]]],
) -> None:
    checkpoints, studies, orders = run
    found = series(studies, steps=[0, 10, 30], checkpoints=checkpoints)
    rows = found.changes()
    assert [row["matched"] for row in rows] == [24, 23]
    assert [row["died"] for row in rows] == [0, 1]
    assert [row["appeared"] for row in rows] == [0, 1]
    assert found.tracks.shape == (25, 3, 2)
    for layer, order in enumerate(orders):
        for new, old in enumerate(order):
            path = found.tracks[found.track_of(0, (layer, old))].tolist()
            anew = (layer, new) == (3, 2)
            assert path == [[layer, old], [layer, new], [-1, -1] if anew else [layer, new]]
    assert found.tracks[found.track_of(2, (3, 2))].tolist() == [[-1, -1], [-1, -1], [3, 2]]
    always = found.with_threshold(0.0)
    assert always.tracks.shape == (24, 3, 2)
    assert (always.tracks >= 0).all()
    with pytest.raises(hs.HeadscopeError, match="no layer 9"):
        found.track_of(0, (9, 0))
    assert "23 heads can be followed from the first to the last" in found.describe()


def test_trajectories_are_means_over_the_images_that_all_share(
    run: tuple[list[hs.Checkpoint], list[hs.Study], list[list[int]]],
) -> None:
    checkpoints, studies, _ = run
    fewer = studied(checkpoints[1], 4)
    found = series([studies[0], fewer], checkpoints=checkpoints[:2])
    assert found.n_images == 4
    distance = found.trajectory("distance")
    expected = studies[0].data["distance"].values[:4].astype(float).mean(0)
    for track, (layer, head) in enumerate(found.tracks[:, 0]):
        assert distance[track, 0] == pytest.approx(expected[layer, head])
    # The same function: the second step is the first, up to the rounding of float32.
    np.testing.assert_allclose(distance[:, 1], distance[:, 0], rtol=1e-4)
    with pytest.raises(hs.HeadscopeError, match="no number 'entropy'"):
        found.trajectory("entropy")


def test_what_is_no_series_is_said() -> None:
    study = studied(hs.load("demo/supervised"), 2)
    with pytest.raises(hs.HeadscopeError, match="at least two"):
        series([study])
    with pytest.raises(hs.HeadscopeError, match="increase"):
        series([study, study], steps=[3, 3])
    with pytest.raises(hs.HeadscopeError, match="1 names for 2"):
        series([study, study], names=["only"])


def test_predictions_that_changed() -> None:
    """Labels are right for the supervised checkpoint by its own predictions."""
    images = [scene(seed).image for seed in range(12)]
    checkpoints = [hs.load("demo/supervised"), hs.load("demo/masked")]
    labels = [scene(seed).label for seed in range(12)]
    first, second = (
        hs.analyze(each, images, metrics=["distance"], importance=False, labels=labels)
        for each in checkpoints
    )
    found = changed_predictions(first, second)
    top = [study.data["top_class"].values[:, 0] for study in (first, second)]
    assert found.changed.tolist() == (top[0] != top[1]).tolist()
    assert found.same_classes
    right = [each == labels for each in top]
    assert found.table.tolist() == [
        [int((~right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())],
        [int((right[0] & ~right[1]).sum()), int((right[0] & right[1]).sum())],
    ]
    np.testing.assert_allclose(found.accuracy, [each.mean() for each in right])
    order = found.order()
    assert sorted(order.tolist()) == list(range(12))
    assert found.changed[order[: found.n_changed]].all()


@pytest.mark.parametrize(
    ("only", "p"),
    [((0, 0), 1.0), ((1, 0), 1.0), ((5, 0), 2 * 0.5**5), ((6, 1), 2 * (1 + 7) / 2**7)],
)
def test_the_exact_test_of_mcnemar(only: tuple[int, int], p: float) -> None:
    from headscope.analysis.changes import PredictionChanges

    right = np.array([[True] * only[0] + [False] * only[1] + [True]] * 2)
    right[1, : only[0]] = False
    right[1, only[0] : sum(only)] = True
    n = right.shape[1]
    nothing = np.zeros((2, n))
    found = PredictionChanges(
        "a", "b", nothing.astype(int), (("x", "x"),) * n, nothing, nothing[0].astype(bool),
        True, ("x",) * n, right,
    )  # fmt: skip
    assert found.p_value == pytest.approx(p)


def told(labels: tuple[str, ...], top: list[int], known: list[int]) -> Any:
    """A study of which nothing but its predictions is there."""
    n = len(top)
    data = xr.Dataset(
        {
            "done": ("image", np.ones(n, bool)),
            "image_digest": ("image", [str(i) for i in range(n)]),
            "top_class": (("image", "rank"), np.array(top)[:, None]),
            "top_probability": (("image", "rank"), np.full((n, 1), 0.5)),
            "label": ("image", np.array(known)),
        }
    )
    return SimpleNamespace(data=data, labels=labels, model="x")


def test_labels_count_for_their_own_study_first() -> None:
    """Other class sets: what one calls a tabby the other calls a cat."""
    fine = told(("tabby", "siamese", "dog"), [0, 1, 2, 2], [0, 0, 2, -1])
    coarse = told(("cat", "dog"), [0, 0, 1, 1], [0, 0, 1, 1])
    found = changed_predictions(fine, coarse)
    assert found.label == ("tabby", "tabby", "dog", "dog")
    assert found.right.tolist() == [[True, False, True, True], [True, True, True, True]]
    assert found.changed.tolist() == [True, True, False, False]
    assert not found.same_classes


def test_two_classes_of_one_name_stay_two() -> None:
    labels = ("crane", "crane", "dog")
    found = changed_predictions(
        told(labels, [0, 1, 2], [1, 1, 2]), told(labels, [1, 1, 2], [1] * 3)
    )
    assert found.changed.tolist() == [True, False, False]
    assert found.right.tolist() == [[False, True, True], [True, True, False]]
    assert found.names[0] == ("crane", "crane")
    assert found.same_classes


def test_at_most_two_checkpoints_are_there_at_once(
    run: tuple[list[hs.Checkpoint], list[hs.Study], list[list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoints, studies, _ = run
    there: weakref.WeakSet[Any] = weakref.WeakSet()
    most = []
    real = in_a_row.side_of

    def counted(*arguments: Any) -> Any:
        gc.collect()
        most.append(len(there) + 1)
        side = real(*arguments)
        there.add(side)
        return side

    monkeypatch.setattr(in_a_row, "side_of", counted)
    found = series([*studies, studies[0]], checkpoints=[*checkpoints, checkpoints[0]])
    assert most == [1, 2, 2, 2]
    assert found.tracks.shape[1] == 4
