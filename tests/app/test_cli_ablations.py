"""`headscope analyze` with ablations, metrics and labels of one's own."""

import numpy as np
import pytest
from PIL import Image

from headscope.analysis.importance.classes import accuracy
from headscope.analysis.study import open_study
from headscope.app.cli import main

TINY = ["--model", "test_vit", "--no-pretrained", "--image-size", "64"]


@pytest.fixture
def photos(tmp_path):
    """Four photographs in folders that are called like classes of ImageNet."""
    random = np.random.default_rng(0)
    for name in ("tench/1.png", "tench/2.png", "n01443537/3.png", "goldfish/4.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def run(photos, out, *arguments):
    return main(["analyze", str(photos), *TINY, "--out", str(out), *arguments])


def test_ablations_metrics_and_labels(photos, tmp_path, capsys):
    out = tmp_path / "x.zarr"
    asked = ["--ablations", "mean, keep,hops<=1:renormalised", "--metrics", "flip,top1_drop"]
    assert run(photos, out, *asked, "--labels", "folders") == 0
    told = capsys.readouterr().out
    assert "by flipped prediction (mean ablation)" in told
    assert "mean distance" not in told, "it was not asked for"
    study = open_study(out)
    assert study.data["ablation"].values.tolist() == ["mean", "keep", "hops<=1:renormalised"]
    assert sorted(study.data["label"].values.tolist()) == [0, 0, 1, 1]
    assert {str(v.name) for v in study.head_metrics()} == {"flip", "top1_drop"}
    assert accuracy(study)["without"].dims == ("ablation", "layer", "head")


def test_default_stands_for_all_metrics_that_do_not_take_long(photos, tmp_path):
    asked = ["--no-importance", "--metrics"]
    for names in ("default", "distance,default", "distance"):
        assert run(photos, tmp_path / names, *asked, names) == 0
    every, again, one = (
        set(open_study(tmp_path / names).settings["metrics"])
        for names in ("default", "distance,default", "distance")
    )
    assert {"distance", "entropy", "content_share"} <= every
    assert every == again
    assert one == {"distance"}


def test_labels_from_a_table(photos, tmp_path, capsys):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\nphotos/tench/1.png,tench\n3.png,goldfish\n")
    out = tmp_path / "x.zarr"
    assert run(photos, out, "--labels", str(table), "--no-importance") == 0
    assert "4 images was measured, importance was left out" in capsys.readouterr().out
    study = open_study(out)
    assert sorted(study.data["label"].values.tolist()) == [-1, -1, 0, 1]
    assert "ablation" not in study.data.dims


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ablations", "zero,,mean"], "has an empty name: give some such as a,b"),
        (["--ablations", "nope"], "There is no ablation 'nope'; there are: "),
        (["--ablations", "any-to-register"], "it has no register token there"),
        (["--metrics", "nope"], "there is none of that name; there are: probability_drop, "),
        (["--labels", "none.csv"], "The labels in none.csv cannot be read (No such file"),
    ],
)
def test_what_is_not_there_is_one_sentence(photos, tmp_path, capsys, arguments, message):
    out = tmp_path / "x.zarr"
    assert run(photos, out, *arguments) == 2
    told, err = capsys.readouterr()
    assert told == ""
    assert message in err.splitlines()[-1]
    assert err.endswith(".\n")
    assert not out.exists()
