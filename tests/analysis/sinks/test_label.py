"""What a study says of sinks agrees with a look for them."""

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.sinks.find import find_sinks
from headscope.analysis.sinks.label import sink_labels
from headscope.models.demo import scenes

METRICS = ["sink_score", "sink_token", "entropy"]


@pytest.fixture(scope="module")
def study():
    images = [scenes.scene(seed).image for seed in range(6)]
    return hs.analyze(hs.load("demo/supervised"), images, metrics=METRICS, importance=False)


def test_labels_are_those_of_the_report_where_both_speak(study):
    checkpoint = hs.load("demo/supervised")
    report = find_sinks(checkpoint, checkpoint.prepare(study.data["pixels"].values))
    labels = sink_labels(study)
    assert labels is not None
    np.testing.assert_array_equal(labels.token_share, report.data["sink_constancy"].values)
    modal = report.data["modal_token"].values
    assert (labels.token == modal).all()
    score = report.data["sink_score"].values.mean(0)
    np.testing.assert_allclose(labels.score, score, rtol=1e-5)
    # Attention from all to all: the share of each key is 1/n.
    lift = report.data["sink_lift"].values.mean(0)
    np.testing.assert_allclose(labels.lift, lift, rtol=1e-4)
    there = report.data["sink_share"].values
    assert (there > 0).any()  # or nothing is compared
    assert (there <= labels.above + 1e-9).all()  # more than 4 times its share is what a sink needs


def test_without_its_numbers_nothing_is_said():
    images = [scenes.scene(0).image]
    study = hs.analyze(hs.load("demo/supervised"), images, metrics=["entropy"], importance=False)
    assert sink_labels(study) is None


def test_windows_have_no_lift_and_few_queries_no_sink():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=(96, 128))
    image = hs.sample_images()["coffee"].read()
    study = hs.analyze(swin, [image], metrics=METRICS, importance=False)
    labels = sink_labels(study)
    assert labels is not None
    kinds = [layer.attention for layer in study.layer_layouts]
    assert set(kinds) > {"windows"}
    windowed = [kind != "global" for kind in kinds]
    assert np.isnan(labels.lift[windowed]).all()
    n_heads = study.data["n_heads"].values
    for layer, n in enumerate(n_heads):
        assert (labels.token[layer, :n] >= 0).all()
        assert (labels.token[layer, n:] == -1).all()  # no such heads
