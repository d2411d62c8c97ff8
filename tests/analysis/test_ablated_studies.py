"""Studies of several ablations: what is asked for is there, and an interrupted one goes on."""

import json
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.models.ablations import HeadStatistics, reference
from headscope.models.replay import Replay

ABLATIONS = ("zero", "mean", "resample", "noise", "class-to-patch", "hops<=1:renormalised")
METRICS = ("probability_drop", "class_l2", "entropy")


@pytest.fixture(scope="module")
def checkpoint():
    return hs.load("test_vit", pretrained=False, seed=0, image_size=64)


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [
        hs.read_image(generator.integers(0, 256, (70, 90, 3), dtype=np.uint8), name=f"photo {i}")
        for i in range(6)
    ]


def analyze(checkpoint, photographs, **options):
    asked = {"ablations": ABLATIONS, "metrics": METRICS, "batch_size": 2, "seed": 5}
    return hs.analyze(checkpoint, photographs, **{**asked, **options})


@pytest.fixture(scope="module")
def study(checkpoint, photographs, tmp_path_factory):
    return analyze(checkpoint, photographs, out=tmp_path_factory.mktemp("study") / "whole.zarr")


def test_a_study_holds_what_was_asked_for(study):
    assert tuple(study.data["ablation"].values) == ABLATIONS
    told = json.loads(study.data["ablation"].attrs["description"])
    assert list(told) == list(ABLATIONS)
    assert told["class-to-patch"].startswith("Attention from class tokens to patch tokens is")
    assert study.settings["metrics"] == list(METRICS)
    per_head = {str(v.name) for v in study.head_metrics()}
    assert per_head == set(METRICS)
    assert len(list(study.head_metrics())) == 2 * len(ABLATIONS) + 1
    assert "distance" not in study.data
    assert "label" not in study.data
    scores = study.data["probability_drop"].values
    assert np.isfinite(scores).all()
    flat = scores.reshape(6, len(ABLATIONS), -1)
    for first in range(len(ABLATIONS)):
        for second in range(first):
            assert not np.allclose(flat[:, first], flat[:, second]), "each ablation is another"


def test_numbers_of_a_study_are_those_of_its_own_images(checkpoint, photographs, study):
    """All six at once, compared with a reference made by hand."""
    batch = checkpoint.batch(photographs)
    against = reference(checkpoint, photographs, seed=5)
    target = checkpoint.run(batch).argmax(-1)
    metric = importance_metrics(checkpoint)["probability_drop"]
    for mode in ABLATIONS:
        layers = head_importance(
            Replay(checkpoint, batch), target, mode, [metric], stand_ins=against.of(batch)
        )
        expected = torch.stack([scores["probability_drop"] for _, scores in layers], dim=1)
        ours = study.data["probability_drop"].sel(ablation=mode)
        # float32 passes of other batch sizes: 1e-7 of a probability, near 1e-3 each here
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-8, err_msg=mode)


class StoppedError(Exception):
    pass


def test_an_interrupted_study_ends_in_the_same_numbers(checkpoint, photographs, study, tmp_path):
    out = tmp_path / "stopped.zarr"

    def stop(progress):
        if progress.done >= 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        analyze(checkpoint, photographs, out=out, progress=stop)
    assert hs.open_study(out).n_done == 2
    told = []
    analyze(checkpoint, photographs, out=out, progress=lambda p: told.append(p.text))
    assert "reading image 6 of 6, to compare with" in told
    # The same batches, so the same bits: nothing drawn hangs on when it is drawn.
    xr.testing.assert_identical(hs.open_study(out).data.load(), study.data.load())


def test_a_study_that_is_done_reads_no_image_again(checkpoint, photographs, study, monkeypatch):
    monkeypatch.setattr(HeadStatistics, "over", None)
    assert analyze(checkpoint, photographs, out=study.path).is_complete


def test_nothing_drawn_hangs_on_batches_and_order(checkpoint, photographs, study):
    backwards = analyze(checkpoint, photographs[::-1], batch_size=4, ablations=("mean", "noise"))
    again = backwards.data["class_l2"].isel(image=slice(None, None, -1))
    expected = study.data["class_l2"].sel(ablation=["mean", "noise"])
    np.testing.assert_allclose(again, expected, rtol=1e-4)  # float32, other batch sizes


def test_the_seed_counts(checkpoint, photographs, study):
    other = analyze(checkpoint, photographs, ablations=("zero", "resample", "noise"), seed=6)
    for mode, same in (("zero", True), ("resample", False), ("noise", False)):
        ours, theirs = (s.data["class_l2"].sel(ablation=mode) for s in (study, other))
        assert np.array_equal(ours, theirs) == same, mode


@pytest.mark.parametrize(
    "change",
    [{"ablations": ("zero",)}, {"metrics": ("entropy",)}, {"seed": 1}, {"labels": [0] * 6}],
)
def test_going_on_with_other_wishes_is_refused(checkpoint, photographs, study, change):
    with pytest.raises(hs.HeadscopeError, match="other images or settings"):
        analyze(checkpoint, photographs, out=study.path, **change)


def test_importance_can_be_left_out(checkpoint, photographs, tmp_path):
    out = tmp_path / "quick.zarr"
    study = hs.analyze(checkpoint, photographs[:2], importance=False, out=out)
    assert study.is_complete
    assert "ablation" not in study.data.dims
    assert {"distance", "entropy", "content_share"} <= {str(v.name) for v in study.head_metrics()}
    copy = study.save(tmp_path / "copy.zarr")
    xr.testing.assert_identical(copy.data.load(), hs.open_study(out).data.load())


def test_a_study_of_before_opens(study, tmp_path):
    """Format 1 kept neither metrics nor labels in its settings, and one layout for all layers."""
    path = tmp_path / "old.zarr"
    shutil.copytree(study.path, path)
    settings = {key: study.settings[key] for key in ("images", "target", "ablations", "seed")}
    tokens = json.loads(study.data.attrs["layout"])["tokens"][0]
    layout = {key: tokens[key] for key in ("kinds", "grid", "patch_px")}
    zarr.open_group(path, mode="r+").update_attributes(
        {"settings": json.dumps(settings), "layout": json.dumps(layout), "format_version": 1}
    )
    old = hs.open_study(path)
    assert old.layer_layouts == study.layer_layouts
    xr.testing.assert_equal(old.data.load(), study.data.load())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ablations": ("zero", "nope")}, "no ablation 'nope'"),
        ({"ablations": ("any-to-register",)}, "says nothing about layer 0"),
        ({"ablations": ()}, "no ablation to measure importance with"),
        ({"metrics": ("nope",)}, "'nope' cannot be measured: there is none of that name"),
        ({"metrics": ("feature_cosine",)}, "does not fit test_vit"),
        ({"metrics": ("top1_drop",)}, "needs the images' labels"),
        ({"metrics": ("flip",), "importance": False}, "importance was left out"),
        ({"metrics": ()}, "no metric to measure"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(
    checkpoint, photographs, options, sentence, tmp_path
):
    out = tmp_path / "x.zarr"
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.analyze(checkpoint, photographs, out=out, **options)
    assert not out.exists()


def test_comparing_with_no_other_image_gets_a_sentence(checkpoint, photographs, tmp_path):
    out = tmp_path / "x.zarr"
    for images in (photographs[:1], [photographs[0], photographs[0]]):
        with pytest.raises(hs.HeadscopeError, match=r"'mean' compares with the other images"):
            hs.analyze(checkpoint, images, ablations=("zero", "mean"), out=out)
    assert not out.exists()
