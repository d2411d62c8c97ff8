"""`headscope explain` writes the maps as `hs.explain` gives them, and a line for each image."""

import csv
import importlib

import numpy as np
import pytest
from PIL import Image

import headscope as hs
from headscope.analysis.explain.explain import explain
from headscope.app.cli import main

from ..analysis.faithfulness.games import tiny

TINY = ["--model", "vit_tiny_patch16_224", "--no-pretrained", "--image-size", "48x80"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("1.png", "2.png"):
        Image.fromarray(random.integers(0, 256, (60, 90, 3), np.uint8)).save(folder / name)
    whole = (folder / "2.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(autouse=True)
def methods(monkeypatch):
    """Three methods of this test's own in the place of the registry."""
    found = {
        "quick": tiny("quick"),
        "other": tiny("other"),
        "slow": tiny("slow", slow=True),
        "misfit": tiny("misfit", why="it has no nose."),
    }
    for name in ("headscope.analysis.explain", "headscope.analysis.explain.explain"):
        monkeypatch.setattr(importlib.import_module(name), "explanations", lambda: found)


def test_maps_and_scores_are_written_as_they_are(photos, tmp_path, capsys) -> None:
    out = tmp_path / "maps"
    arguments = ["explain", str(photos), *TINY, "--out", str(out), "--target", "0"]
    assert main([*arguments, "--method", "quick,slow", "--against", "runner-up"]) == 0
    told, err = capsys.readouterr()
    assert err.startswith("headscope: skipped: ")
    assert "half.png" in err

    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, image_size=(48, 80))
    images = [photos / "1.png", photos / "2.png"]
    expected = explain(checkpoint, images, "quick", target=0, against="runner-up")
    assert [path.name for path in sorted((out / "quick").iterdir())] == ["001-1.png", "002-2.png"]
    with Image.open(out / "quick" / "002-2.png") as picture:
        width, height = picture.size
        assert (width % 80, height % 48) == (0, 0)  # cells stay sharp at whole multiples
        assert width * 48 == height * 80
        assert np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2).max() > 0  # colour
    with np.load(out / "quick.npz") as saved:
        np.testing.assert_array_equal(saved["values"], expected.values)
        np.testing.assert_array_equal(saved["score"], expected.score)
        np.testing.assert_array_equal(saved["classes"], [0, 0])
        assert saved["names"].tolist() == ["1.png", "2.png"]
        assert saved["cell_px"].tolist() == [12, 20]
        assert str(saved["model_digest"]) == checkpoint.digest
        assert "runner-up" in str(saved["target"])
    assert (out / "slow.npz").exists()
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["method"]) for row in rows] == [
        ("1.png", "quick"),
        ("2.png", "quick"),
        ("1.png", "slow"),
        ("2.png", "slow"),
    ]
    assert float(rows[1]["score"]) == expected.score[1]
    assert f"{expected.score[0]:.3f}" in told
    assert told.endswith(
        f"Saved in {out}: quick.npz, slow.npz, scores.csv, "
        "and a folder of pictures for each method.\n"
    )


def test_all_are_those_that_fit_and_are_quick(tmp_path, capsys) -> None:
    out = tmp_path / "maps"
    arguments = ["explain", "sample/scene-8", *TINY, "--out", str(out), "--method", "all"]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {
        "quick.npz",
        "quick",
        "other.npz",
        "other",
        "scores.csv",
    }
    assert "left out: misfit: it has no nose." in err
    assert "left out: slow" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "dream"], "There is no method 'dream'; there are: quick"),
        (["--method", "misfit"], "it has no nose."),
        (["--method", "quick", "--target", "unicorn"], "no class 'unicorn'"),
        (["--method", "quick", "--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, message, tmp_path, capsys) -> None:
    out = tmp_path / "maps"
    assert main(["explain", "sample/scene-8", *TINY, "--out", str(out), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_that_is_in_use_is_left_alone(photos, capsys) -> None:
    before = sorted(photos.iterdir())
    arguments = ["explain", "sample/scene-8", *TINY, "--method", "quick"]
    assert main([*arguments, "--out", str(photos)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert sorted(photos.iterdir()) == before


def test_a_stop_tells_what_is_kept(tmp_path, capsys, monkeypatch) -> None:
    from headscope.app import explain_command

    saved = explain_command._save

    def stop(path, *rest) -> None:
        if path.stem == "other":
            raise KeyboardInterrupt
        saved(path, *rest)

    monkeypatch.setattr(explain_command, "_save", stop)
    out = tmp_path / "maps"
    arguments = ["explain", "sample/scene-8", *TINY, "--method", "quick,other"]
    assert main([*arguments, "--out", str(out)]) == 130
    assert f"In {out} are the maps of quick" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"quick.npz", "quick", "scores.csv"}
