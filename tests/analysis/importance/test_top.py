"""The search for the most important heads: as the full run has it, and from fewer ablations."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.analysis.importance.top import find_top_heads
from headscope.models.demo.scenes import HELD_OUT, scene
from headscope.models.replay import Replay


@pytest.fixture(scope="module")
def photographs():
    return [hs.read_image(scene(seed).image, name=str(seed)) for seed in HELD_OUT[:60]]


def full_scores(checkpoint, photographs, name):
    batch = checkpoint.batch(photographs)
    replay = Replay(checkpoint, batch)
    metric = importance_metrics(checkpoint)[name]
    layers = head_importance(replay, replay.output.argmax(-1), "zero", [metric])
    return np.stack([scores[name].numpy().mean(0) for _, scores in layers])


def test_the_heads_are_those_of_the_full_run(demo, photographs):
    looks = []
    found = find_top_heads(
        demo, photographs, 3, progress=lambda race, words: looks.append((race.n_images, words))
    )
    mean = full_scores(demo, photographs, "js_divergence")
    order = np.argsort(-mean, axis=None)[:3]
    assert set(found.result.top) == {tuple(map(int, divmod(i, mean.shape[1]))) for i in order}
    assert found.result.decided
    assert found.result.share_of_ablations < 1, "some heads were decided before the end"
    assert looks[-1][0] == found.result.n_images
    assert looks[-1][1] == "24 of 24 heads decided"


def test_intervals_hold_the_means_of_all_images(demo, photographs):
    found = find_top_heads(demo, photographs, 3)
    mean = full_scores(demo, photographs, "js_divergence")
    # float32 passes of other batch sizes
    assert (found.bounds.low <= mean + 1e-5).all()
    assert (found.bounds.high >= mean - 1e-5).all()


def test_scored_heads_alone_are_ablated(demo, photographs):
    batch = demo.batch(photographs[:2])
    metric = importance_metrics(demo)["js_divergence"]
    wanted = np.zeros((demo.n_layers, 4), bool)
    wanted[2, 1] = wanted[5, [0, 3]] = True
    target = torch.zeros(2, dtype=torch.long)
    some, every = (
        [
            scores["js_divergence"].numpy()
            for _, scores in head_importance(
                Replay(demo, batch), target, "zero", [metric], heads=heads
            )
        ]
        for heads in (wanted, None)
    )
    for layer in range(demo.n_layers):
        assert (np.isfinite(some[layer]) == wanted[layer]).all()
        np.testing.assert_allclose(
            some[layer][:, wanted[layer]], every[layer][:, wanted[layer]], rtol=1e-3, atol=1e-7
        )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"metric": "fame"}, "no importance metric 'fame'"),
        ({"mode": "mean"}, "compares with other images"),
        ({"mode": "keep"}, "leaves one head alone"),
        ({"k": 0}, "at least 1"),
        ({"k": 24}, "has 24 heads"),
        ({"target": "unicorn"}, "no class 'unicorn'"),
    ],
)
def test_what_cannot_be_searched_gets_a_sentence(demo, photographs, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        find_top_heads(demo, photographs[:2], **options)


def test_one_image_ranks_nothing(demo, photographs):
    with pytest.raises(hs.HeadscopeError, match="at least two"):
        find_top_heads(demo, photographs[:1])


def test_heads_that_a_metric_says_nothing_about_are_not_in_the_race(demo, photographs):
    """Patch rows of the last layer are read by nobody."""
    found = find_top_heads(demo, photographs[:4], 2, metric="patch_cosine")
    assert all(layer < demo.n_layers - 1 for layer, _ in found.result.top)
    with pytest.raises(hs.HeadscopeError, match="defined for 20 heads"):
        find_top_heads(demo, photographs[:4], 22, metric="patch_cosine")
