"""What runs behind heads in depth."""

from typing import Any

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.importance.scorer import first_metric, head_scores, heads_there
from headscope.app.jobs import Job, Stopped
from headscope.app.measuring import pictures, race
from headscope.models.demo import scenes

N_SCENES = 24


@pytest.fixture(scope="module")
def checkpoint() -> Any:
    return hs.load("demo/supervised")


def test_scores_are_those_of_a_study(checkpoint: Any) -> None:
    images = [scenes.scene(seed).image for seed in range(3)]
    study = hs.analyze(checkpoint, images, metrics=["js_divergence"])
    batch = checkpoint.prepare(study.data["pixels"].values)
    some = heads_there(checkpoint)
    some[2:4] = some[5, 1] = False
    metric = first_metric(checkpoint)
    assert metric.name == "js_divergence"
    scores = head_scores(checkpoint, batch, some, metric)
    assert np.isnan(scores[:, ~some]).all()
    expected = study.data["js_divergence"].isel(ablation=0).transpose("image", "layer", "head")
    # Other batches, other sums in float32.
    np.testing.assert_allclose(scores[:, some], expected.values[:, some], rtol=1e-3, atol=1e-7)


def test_a_stopped_race_goes_on(checkpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "HELD_OUT", range(N_SCENES))
    contest = race.Contest(checkpoint, pictures.many(checkpoint))
    first: Job[race.Standing] = Job("first", "")

    def stop_at_once(share: float, text: str = "", so_far: Any = None) -> None:
        if so_far is not None:
            first.stop()
        Job.report(first, share, text, so_far)

    monkeypatch.setattr(first, "report", stop_at_once)
    with pytest.raises(Stopped):
        contest.run(first)
    standing = first.so_far
    assert standing.result.n_images == race.BATCH
    assert standing.contest is contest
    end = contest.run(Job("second", ""))
    assert end.result.decided
    assert end.result.n_images == N_SCENES
    assert end.contest is None  # a result keeps no checkpoint in memory
    assert len(end.result.top) == race.TOP
    assert end.ranking.heads[: race.TOP] == tuple(end.result.top)


def test_large_checkpoints_take_fewer_images(checkpoint: Any) -> None:
    large = hs.load("vit_small_patch16_224", pretrained=False)
    many = pictures.many(large)
    assert many.words == "sample pictures"
    assert pictures.images_for(large, many) == pictures.LEAST_IMAGES
    assert not pictures.is_quick(large)
    assert pictures.images_for(checkpoint, pictures.many(checkpoint)) == pictures.IMAGES
    assert pictures.is_quick(checkpoint)
