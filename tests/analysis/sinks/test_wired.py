"""Sinks in a study: numbers across images and of hidden states, against the report's."""

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.across import across_metrics
from headscope.analysis.sinks.find import find_sinks
from headscope.models.capture import watch
from headscope.models.demo.scenes import scene

N_IMAGES = 6


@pytest.fixture(scope="module")
def photographs():
    images = [scene(i).image for i in range(N_IMAGES)]
    return [hs.Photograph(f"scene {i}", image, str(i), None, ()) for i, image in enumerate(images)]


NAMES = ("sink_score", "sink_concentration", "sink_token", "sink_constancy", "sink_agreement")
HIDDEN = {
    "token_norm": "token_norm",
    "token_norm_median": "token_norm_median",
    "token_norm_token": "token_norm_token",
    "largest_activation": "largest_ratio",
}


def test_a_study_has_what_the_report_has(demo, photographs):
    metrics = [*NAMES, *HIDDEN]
    study = hs.analyze(demo, photographs, importance=False, metrics=metrics, batch_size=4)
    report = find_sinks(demo, photographs, batch_size=4)
    for name in NAMES:
        # float32 maps of one pass and another
        np.testing.assert_allclose(study.data[name], report.data[name], rtol=1e-4, err_msg=name)
    for name, ours in HIDDEN.items():
        np.testing.assert_allclose(study.data[name], report.data[ours], rtol=1e-4, err_msg=name)
    assert np.ptp(study.data["sink_constancy"].values) > 0.3, "or the comparison says nothing"


def test_agreement_is_the_mean_over_all_pairs(demo, photographs):
    made = {name: across_metrics()[name](demo) for name in ("sink_agreement", "sink_constancy")}
    received: dict[int, list[np.ndarray]] = {}

    def fold(layer):
        for each in made.values():
            each.fold(layer)
        received.setdefault(layer.layer, []).append(layer.weights.double().mean(2).numpy())

    batch = demo.batch(photographs)
    for start in (0, 4):
        watch(demo, batch[start : start + 4], fold)
    for layer in (0, demo.n_layers - 1):
        shares = np.concatenate(received[layer])[:, 1]
        units = shares / np.linalg.norm(shares, axis=-1, keepdims=True)
        pairs = [units[a] @ units[b] for a in range(N_IMAGES) for b in range(N_IMAGES) if a != b]
        # float32 means over 145 queries
        np.testing.assert_allclose(
            made["sink_agreement"].finish()[layer, 1], np.mean(pairs), rtol=1e-5
        )
        most = np.bincount(shares.argmax(-1)).max() / N_IMAGES
        assert made["sink_constancy"].finish()[layer, 1] == pytest.approx(most, rel=1e-6)
