"""The part "Compare": two checkpoints side by side, and several in a row."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app.serve import STUDIES
from headscope.models.demo.scenes import scene

from .test_page import open_page, rest, words

__all__ = ["open_page"]
METRICS = ["js_divergence", "entropy", "distance", "hop_share"]
N = 4


def made(path: Path, name: str, seeds: range, **options: Any) -> Path:
    images = [scene(seed).image for seed in seeds]
    checkpoint = hs.load(name, pretrained=not name.startswith("test_"))
    hs.analyze(checkpoint, images, out=path, **{"metrics": METRICS} | options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A: supervised; masked on the same scenes; a third of other scenes, labels and metrics."""
    path = tmp_path_factory.mktemp("studies")
    labels = [scene(seed).label for seed in range(N)]
    made(path / "a.zarr", "demo/supervised", range(N), labels=labels)
    made(path / "b.zarr", "demo/masked", range(N), labels=labels)
    made(path / "some.zarr", "test_vit", range(N - 1, N + 1), metrics=["entropy", "hop_share"])
    made(path / "apart.zarr", "demo/masked", range(20, 21), metrics=["entropy"])
    return path


@pytest.fixture
def compared(
    open_page: Callable[..., AppTest], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AppTest]:
    """Opens the part on the first of these studies, beside the others."""

    def opened(*names: str, **query: str) -> AppTest:
        page = open_page(study=folder / names[0], **query)
        paths = [Path(name) if "/" in name else folder / name for name in names]
        monkeypatch.setenv(STUDIES, os.pathsep.join(map(str, paths)))
        page.segmented_control(key="depth_part").set_value("Compare").run()
        return rest(page)

    return opened


def view(page: AppTest, name: str) -> AppTest:
    page.segmented_control(key="compare_view").set_value(name).run()
    return rest(page)


def told(page: AppTest) -> str:
    return " ".join(element.value for element in [*page.caption, *page.markdown, *page.info])


def figures(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def heatmaps(figure: dict[str, Any]) -> list[np.ndarray]:
    return [
        np.array(trace["z"], dtype=float)
        if isinstance(trace["z"], list)
        else np.frombuffer(__import__("base64").b64decode(trace["z"]["bdata"]), trace["z"]["dtype"])
        for trace in figure["data"]
        if trace["type"] == "heatmap"
    ]


def test_atlases_share_a_scale_and_tell_the_difference(
    compared: Callable[..., AppTest], folder: Path
) -> None:
    page = compared("a.zarr", "b.zarr")
    assert words(page) == ""
    assert "A: demo/supervised, B: demo/masked" in told(page)
    assert "on the same 4 images" in told(page)
    page.selectbox(key="compare_metric").set_value("entropy").run()
    (figure,) = figures(rest(page))
    a, b, difference = heatmaps(figure)
    studies = [hs.open_study(folder / name) for name in ("a.zarr", "b.zarr")]
    means = [study.data["entropy"].values.mean(0) for study in studies]
    np.testing.assert_allclose(a, means[0], rtol=1e-5)
    np.testing.assert_allclose(b, means[1], rtol=1e-5)
    np.testing.assert_allclose(difference, means[1] - means[0], atol=1e-5)
    axis = figure["layout"]["coloraxis"]
    ends = [axis["cmin"], axis["cmax"]]
    np.testing.assert_allclose(ends, [np.min(means), np.max(means)], rtol=1e-5)
    assert figure["layout"]["coloraxis2"]["cmin"] == -figure["layout"]["coloraxis2"]["cmax"]
    assert len(page.get("download_button")) == 1


def test_heads_are_matched_and_drawn(compared: Callable[..., AppTest]) -> None:
    page = view(compared("a.zarr", "b.zarr", layer="1", head="2"), "Matching")
    assert words(page) == ""
    assert {metric.label for metric in page.metric} == {"Matched", "Moved", "Died", "Appeared"}
    assert "Score: mean of strength" in told(page)
    assert "L1 H2" in told(page)  # what became of the chosen head
    (slider,) = page.slider
    slider.set_value(0.0).run()
    counts = {metric.label: metric.value for metric in rest(page).metric}
    assert counts["Matched"] == "24"
    assert counts["Died"] == counts["Appeared"] == "0"
    lines = figures(page)[0]
    assert sum(trace["mode"] == "markers" for trace in lines["data"]) == 2
    page.segmented_control(key="compare_drawn").set_value("Matrix").run()
    rest(page).segmented_control(key="compare_of").set_value("output").run()
    matrix = figures(rest(page))[0]
    assert matrix["data"][0]["zmin"] == 0
    assert matrix["data"][0]["zmax"] == 1
    assert np.array(matrix["data"][0]["z"], dtype=float).shape == (24, 24)
    page.segmented_control(key="compare_drawn").set_value("Table").run()
    assert len(rest(page).dataframe[-1].value) == 24
    page.segmented_control(key="compare_by").set_value(["strength"]).run()
    assert "Score: mean of strength" in told(rest(page))
    assert "output" not in told(page)
    page.segmented_control(key="compare_by").set_value([]).run()
    assert "Choose at least one" in told(rest(page))


def test_a_number_in_a_against_b(compared: Callable[..., AppTest]) -> None:
    page = view(compared("a.zarr", "b.zarr"), "A against B")
    page.selectbox(key="compare_metric").set_value("distance").run()
    rest(page)
    charts = figures(page)
    if charts:
        assert "Mean attention distance" in charts[0]["layout"]["xaxis"]["title"]["text"]
        assert charts[0]["layout"]["xaxis"]["range"] == charts[0]["layout"]["yaxis"]["range"]
    else:
        assert "No head of A matches" in told(page)
    page = view(page, "Atlases")
    page.segmented_control(key="compare_paired").set_value("by matched head").run()
    assert len(figures(rest(page))) == 1
    assert "have no match in B" in told(page)


def test_layers_with_paired_intervals(compared: Callable[..., AppTest]) -> None:
    page = view(compared("a.zarr", "b.zarr"), "Layers")
    assert "B − A paired image by image" in told(page)
    (figure,) = figures(page)
    assert [trace["name"] for trace in figure["data"]] == [
        "A · demo/supervised",
        "B · demo/masked",
        "B − A",
    ]


def test_predictions_are_compared(compared: Callable[..., AppTest]) -> None:
    page = view(compared("a.zarr", "b.zarr"), "Predictions")
    assert "of 4 predictions differ" in told(page)
    assert "McNemar's exact test" in told(page)
    page.toggle(key="compare_all").set_value(True).run()
    assert len(rest(page).dataframe[-1].value) == N


def test_other_images_sizes_classes_and_metrics_are_said(
    compared: Callable[..., AppTest],
) -> None:
    page = compared("a.zarr", "some.zarr")
    assert "on the 1 image that both studies have, of 4 in A and 2 in B" in told(page)
    assert "distances in px are of other scales" in told(page)
    page.selectbox(key="compare_metric").set_value("distance").run()
    assert "is not in the study of B, test_vit" in told(rest(page))
    assert len(figures(page)) == 1
    page.selectbox(key="compare_metric").set_value("entropy").run()
    rest(page)
    assert page.segmented_control(key="compare_paired").options == ["by matched head"]
    assert len(figures(page)) == 1
    for name in ("Matching", "Layers", "Predictions", "A against B"):
        page = view(page, name)
        assert words(page) == ""
    page = view(page, "Predictions")
    assert "The checkpoints have other classes" in told(page)
    assert not page.exception


def test_studies_of_other_images_share_none(compared: Callable[..., AppTest]) -> None:
    page = compared("a.zarr", "apart.zarr")
    assert "no image in common" in words(page)
    assert page.multiselect(key="compare_against").value == ["apart.zarr"]


def test_a_study_that_vanished_leaves_the_others_alone(
    compared: Callable[..., AppTest], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "b.zarr", tmp_path / "gone.zarr")
    page = compared("a.zarr", "b.zarr", str(tmp_path / "gone.zarr"))
    shutil.rmtree(tmp_path / "gone.zarr")
    page.multiselect(key="compare_against").set_value(["gone.zarr", "b.zarr"]).run()
    page = rest(page)
    assert "There is no study at" in words(page)
    assert "A: demo/supervised, B: demo/masked" in told(page)
    assert page.session_state["selection"].against == "gone.zarr|b.zarr"


def test_without_another_study_it_says_what_to_do(
    compared: Callable[..., AppTest],
) -> None:
    assert "Choose what to compare with" in told(compared("a.zarr"))
    page = compared("a.zarr", "b.zarr", against="nobody.zarr")
    assert "There is no study nobody.zarr here" in words(page)
    page.multiselect(key="compare_against").set_value([]).run()
    assert "Choose what to compare with" in told(rest(page))


def test_a_study_whose_checkpoint_is_another_now(
    compared: Callable[..., AppTest], folder: Path, tmp_path: Path
) -> None:
    import zarr

    shutil.copytree(folder / "b.zarr", tmp_path / "other.zarr")
    zarr.open_group(tmp_path / "other.zarr").attrs["model_digest"] = 64 * "0"
    page = view(compared("a.zarr", str(tmp_path / "other.zarr")), "Matching")
    assert "Left out: pattern, as" in told(page)
    assert "its weights differ" in told(page)
    assert len(figures(page)) == 1


def test_a_series_is_followed(compared: Callable[..., AppTest]) -> None:
    page = compared("a.zarr", "b.zarr", "some.zarr", against="b.zarr|some.zarr")
    assert page.segmented_control(key="compare_beside").value == "b.zarr"
    page = view(page, "Series")
    assert words(page) == ""
    film, lines, fates = figures(page)
    assert len(film["frames"]) == 3
    assert [len(frame["data"]) for frame in film["frames"]] == [3, 3, 3]
    assert [step["label"] for step in film["layout"]["sliders"][0]["steps"]] == ["a", "b", "some"]
    assert len(fates["data"]) == 4
    assert lines["layout"]["xaxis"]["ticktext"] == ["a", "b", "some"]
    assert "3 checkpoints from a to some on 1 image" in told(page)
    page.toggle(key="compare_always").set_value(True).run()
    assert "Every head is followed" in told(rest(page))
    tracks = figures(page)[1]["data"]
    assert len(tracks) >= 24
    page.selectbox(key="compare_series_x").set_value("entropy").run()
    page.selectbox(key="compare_series_y").set_value("distance").run()
    title = figures(rest(page))[0]["layout"]["yaxis"]["title"]["text"]
    assert title == "Mean attention distance (px)"


def test_on_one_picture_another_checkpoint_is_measured(
    open_page: Callable[..., AppTest],
) -> None:
    page = open_page(image="scene-8")
    page.segmented_control(key="depth_part").set_value("Compare").run()
    page = rest(page)
    assert page.multiselect(key="compare_against").value == ["demo/masked"]
    assert "A: demo/supervised, B: demo/masked" in told(page)
    assert "on this picture" in told(page)
    assert len(figures(page)) == 1
    page = view(page, "Matching")
    assert "8 × 8 places of each image" in told(page)
    page.multiselect(key="compare_against").set_value(["no_such_vit"]).run()
    assert "no_such_vit" in words(rest(page))
