"""The panels "Strength" and "Pattern" of the board: what they are sent in each state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis.patterns import Patterns, fit_patterns, open_patterns
from headscope.analysis.trends import trend
from headscope.app.figures.board import pattern as figures
from headscope.app.measuring import patterns as work
from headscope.models.demo import scenes

from .boards import settled
from .test_depth import show
from .test_page import changed, open_page, sent

__all__ = ["open_page"]
N_IMAGES = 6


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to learn from."""
    monkeypatch.setattr(work, "IMAGES", 6)
    monkeypatch.setattr(scenes, "HELD_OUT", range(9))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of six scenes without patterns."""
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(N_IMAGES)]
    metrics = ["entropy", "distance", "hop_share", "hop_mean", "offset_map", "share"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics, importance=False)
    return path


@pytest.fixture(scope="module")
def patterns(bare: Path) -> Patterns:
    return fit_patterns(hs.open_study(bare), clusters=3, umap=False)


@pytest.fixture(scope="module")
def study(bare: Path, patterns: Patterns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = hs.open_study(bare).save(tmp_path_factory.mktemp("study") / "with.zarr").path
    assert path is not None
    patterns.save(hs.open_study(path))
    return path


# -- strength --------------------------------------------------------------------------------------


def test_strength_sends_what_the_analysis_says(
    open_page: Callable[..., AppTest], bare: Path
) -> None:
    page = open_page(study=bare)
    content = settled(page, "strength")
    opened = hs.open_study(bare)
    names = [str(name) for name in opened.data["image"].values]
    keys = [each["key"] for each in content["trends"]]
    assert set(keys) == {"entropy", "distance"}
    for each in content["trends"]:
        expected = trend(opened, each["key"])
        for name in ("mean", "low", "high"):
            # Sent as float32.
            np.testing.assert_allclose(each[name], getattr(expected, name)[0], rtol=1e-6)
        assert each["n_images"].tolist() == [N_IMAGES] * 6
        assert each["method"] == expected.method
    values = opened.data["offset_map"].values.astype(float)
    assert content["n_images"] == N_IMAGES
    for layer in range(6):
        mean, one = content["offsets"]["layers"][layer], content["of_image"][layer]
        assert mean["patch_px"] == [8, 8]
        np.testing.assert_allclose(mean["shares"], values[:, layer].mean(0), rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(one["shares"], values[0, layer].astype(np.float32))
    page = open_page(study=bare, image=names[4])
    one = settled(page, "strength")["of_image"][2]
    np.testing.assert_array_equal(one["shares"], values[4, 2].astype(np.float32))


def test_strength_of_one_picture_needs_no_ablation(open_page: Callable[..., AppTest]) -> None:
    page = open_page(image="scene-8")
    content = settled(page, "strength")
    keys = {metric["key"] for metric in sent(page)["metrics"]}
    assert {"distance", "entropy"} <= {each["key"] for each in content["trends"]} <= keys
    assert content["of_image"] is None
    assert len(content["offsets"]["layers"]) == 6
    assert all(np.isnan(each["low"]).all() for each in content["trends"])
    assert "too few" in content["trends"][0]["reason"] or "image" in content["trends"][0]["reason"]


def test_a_study_without_attention_metrics_says_so(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    path = tmp_path / "importance.zarr"
    hs.analyze(
        hs.load("demo/supervised"), [scenes.scene(0).image], out=path, metrics=["js_divergence"]
    )
    content = settled(open_page(study=path), "strength")
    assert "without attention metrics" in content["waiting"]


# -- pattern ---------------------------------------------------------------------------------------


def same(content: dict[str, Any], patterns: Patterns) -> None:
    """Whether the panel has these patterns, those of one checkpoint alone."""
    maps = patterns.maps
    for name in ("layer", "head"):
        np.testing.assert_array_equal(content[name], getattr(maps, name))
    np.testing.assert_array_equal(content["label"], patterns.clustering.labels)
    assert [content["images"][i] for i in content["image"]] == [
        maps.origins[o].images[i] for o, i in zip(maps.origin, maps.image, strict=True)
    ]
    plane = content["planes"][0]
    assert plane["key"] == "pca"
    # Sent as float32.
    np.testing.assert_allclose(plane["points"], patterns.projections["pca"].points, rtol=1e-6)
    for sent_one, cluster in zip(content["clusters"], patterns.clusters, strict=True):
        assert (sent_one["name"], sent_one["n_maps"]) == (cluster.name, cluster.n_maps)
        assert sent_one["share"] == pytest.approx(cluster.share)
        np.testing.assert_allclose(sent_one["prototype"], cluster.prototype, rtol=1e-6)
        mostly = patterns.heads.heads[patterns.heads.modal == cluster.index, 1:]
        assert sent_one["members"] == mostly.tolist()
    np.testing.assert_allclose(content["heads"]["shares"], patterns.heads.shares, rtol=1e-6)
    assert sum(len(each["members"]) for each in content["clusters"]) == len(patterns.heads.heads)


def test_patterns_of_a_study_are_sent(
    open_page: Callable[..., AppTest], study: Path, patterns: Patterns
) -> None:
    page = open_page(study=study)
    content = settled(page, "pattern")
    same(content, patterns)
    assert content["places"] == list(range(N_IMAGES))
    assert content["own"] is None
    assert (content["n_maps"], content["n_images"]) == (24 * N_IMAGES, N_IMAGES)
    while content["thumbnails"] is None:  # read apart from the patterns
        page.run()
        content = settled(page, "pattern")
    assert content["thumbnails"].shape == (N_IMAGES, figures.SIDE, figures.SIDE, 3)
    # 96 px are no multiple of 40: the mean colour stays, but for rounding.
    pixels = hs.open_study(study).data["pixels"].values
    wrong = content["thumbnails"].mean((1, 2)) - pixels.mean((1, 2))
    assert np.abs(wrong).max() < 1


def test_without_patterns_the_panel_offers_to_learn_them(
    open_page: Callable[..., AppTest], bare: Path
) -> None:
    for page in (open_page(study=bare), open_page(image="scene-8")):
        content = settled(page, "pattern")
        assert content["action"] == {"label": "Learn patterns", "part": "Patterns"}
        assert "Patterns group the maps" in content["waiting"]


def test_patterns_of_other_weights_are_not_this_checkpoints(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    other = changed(study, tmp_path / "other.zarr", model_digest="another")
    content = settled(open_page(study=other), "pattern")
    assert "of this checkpoint" in content["waiting"]


def test_damaged_patterns_are_a_sentence_in_the_panel(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    path = hs.open_study(study).save(tmp_path / "damaged.zarr").path
    assert path is not None
    for chunk in (path / "patterns").rglob("latents/c/*"):
        if chunk.is_file():
            chunk.write_bytes(b"")
        for inner in chunk.rglob("*"):
            if inner.is_file():
                inner.write_bytes(b"")
    page = open_page(study=path)
    content = settled(page, "pattern")
    assert "clusters" not in content
    assert content["waiting"]
    assert content["action"]["part"] == "Patterns"
    assert "trends" in settled(page, "strength")  # the rest of the board is alive


def test_patterns_that_were_learned_on_the_page_are_shown_at_once(
    open_page: Callable[..., AppTest],
) -> None:
    page = show(open_page(image="scene-8"), "Patterns")
    for _ in range(5):  # the picture's own maps come a little later
        content = settled(page, "pattern")
        if content.get("own"):
            break
        page.run()
    assert content["n_maps"] == 24 * 6
    assert content["own"]["layer"].tolist() == [layer for layer in range(6) for _ in range(4)]
    assert content["own"]["images"] == ["scene-8"]
    assert content["planes"][0]["own"].shape == (24, 2)
    assert set(content["places"]) == {-1}
    n = len(content["clusters"])
    # Other groups in the part below are other groups on the board.
    page.selectbox(key="patterns_how").set_value("5" if n != 5 else "4").run()
    assert len(settled(page, "pattern")["clusters"]) == (5 if n != 5 else 4)


def test_a_part_of_many_maps_is_drawn(patterns: Patterns) -> None:
    rows = np.arange(len(patterns.maps))
    shown = patterns.maps.origins[0].images[2]
    content = figures.payload(patterns, rows, patterns.heads, {}, shown=shown, most=30)
    of_shown = sum(content["images"][i] == shown for i in content["image"])
    assert of_shown == 24
    assert 24 <= len(content["layer"]) <= 30 + 24
    assert content["n_maps"] == len(rows)
    at = content["planes"][0]["points"]
    assert at.shape == (len(content["layer"]), 2)
    assert set(content["places"]) == {-1}


def test_saved_patterns_are_those_of_the_store(study: Path, patterns: Patterns) -> None:
    opened = open_patterns(hs.open_study(study))
    rows = np.arange(len(opened.maps))
    same(figures.payload(opened, rows, opened.heads, {}), patterns)
