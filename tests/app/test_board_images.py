"""What Python sends the Images and Importance panels, on a study and on one picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app import services
from headscope.app.views.board import images, importance
from headscope.app.views.depth.subject import Subject
from headscope.models.demo.scenes import scene

from .test_page import open_page, sent, words

__all__ = ["open_page"]

N_IMAGES = 4
METRICS = ["probability_drop", "js_divergence", "distance", "entropy"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a few scenes, with parts of heads, whose labels are those of the first two."""
    checkpoint = hs.load("demo/supervised")
    pictures = [
        hs.read_image(np.asarray(scene(seed).image), name=f"scene {seed}")
        for seed in range(N_IMAGES)
    ]
    top = checkpoint.probabilities(checkpoint.batch(pictures)).argmax(-1)
    labels = {"scene 0": int(top[0]), "scene 1": int(top[1] + 1) % len(checkpoint.labels)}
    path = tmp_path_factory.mktemp("board") / "scenes.zarr"
    hs.analyze(
        checkpoint,
        pictures,
        metrics=METRICS,
        ablations=("zero", "class-to-patch"),
        labels=labels,
        out=path,
    )
    return path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Outside a page: jobs are waited for, and what the browser asks is given."""
    wants: dict[str, Any] = {}

    def for_board(panel: str, key: Any, title: str, work: Any) -> Any:
        job = services.Jobs(workers=1, most=9).start((panel, key), title, work)
        assert job.wait(60)
        return job

    monkeypatch.setattr(services, "for_board", for_board)
    monkeypatch.setattr(images, "asked", lambda _: wants)
    return wants


def test_images_of_a_study(path: Path, at_once: dict[str, Any]) -> None:
    study = hs.open_study(path)
    part = images.part(Subject(None, study))
    assert part["names"] == [f"scene {seed}" for seed in range(N_IMAGES)]
    assert part["points"].shape == (N_IMAGES, 2)
    assert part["label"].tolist()[2:] == [-1, -1]
    assert part["label"][0] == part["prediction"][0]
    assert part["label"][1] != part["prediction"][1]
    assert part["heads"] is None
    assert part["sprite"].shape[0] == N_IMAGES
    at_once.update(metric="distance", of="importance")
    again = images.part(Subject(None, study))
    assert again["of"] == "importance"
    assert "what changes without each head" in again["words"]
    assert not np.allclose(again["points"], part["points"])
    distance = study.data["distance"].values
    np.testing.assert_array_equal(again["heads"]["values"], distance.reshape(N_IMAGES, -1))


def test_umap_that_cannot_be_leaves_pca_and_says_why(path: Path, at_once: dict[str, Any]) -> None:
    at_once["method"] = "umap"
    part = images.part(Subject(None, hs.open_study(path)))
    assert part["method"] == "pca"
    assert "4 images are too few for UMAP" in part["said"]


def test_what_a_browser_asks_is_not_trusted(path: Path, at_once: dict[str, Any]) -> None:
    at_once.update(method="tsne", of=3, metric={"a": 1})
    part = images.part(Subject(None, hs.open_study(path)))
    assert (part["method"], part["of"], part["heads"]) == ("pca", "attention", None)
    at_once["metric"] = "no such"
    assert images.part(Subject(None, hs.open_study(path)))["heads"]["values"] is None


def test_one_picture_says_what_to_do() -> None:
    waiting = images.part(Subject())["waiting"]
    assert "headscope analyze FOLDER" in waiting
    assert "being measured" in importance.part(Subject())["waiting"]


@pytest.mark.usefixtures("at_once")
def test_importance_of_a_study(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope.analysis.importance.intervals import t_interval

    study = hs.open_study(path)
    part = importance.part(Subject(None, study))
    assert [each["name"] for each in part["parts"]] == ["zero", "class-to-patch"]
    family = part["families"]["js_divergence"]
    assert family == {
        "zero": "js_divergence:zero",
        "class-to-patch": "js_divergence:class-to-patch",
    }
    scores = study.data["js_divergence"].sel(ablation="class-to-patch").values.astype(float)
    interval = t_interval(scores)
    sent_interval = part["intervals"]["js_divergence:class-to-patch"]
    np.testing.assert_allclose(sent_interval["low"], interval.low.ravel(), rtol=1e-12)
    assert sent_interval["n"] == N_IMAGES
    chosen = importance.selection.Selection(images="0-2")
    monkeypatch.setattr(importance.selection, "current", lambda: chosen)
    few = importance.part(Subject(None, study))["intervals"]["distance"]
    assert few["n"] == 3
    np.testing.assert_allclose(
        few["high"], t_interval(study.data["distance"].values[:3].astype(float)).high.ravel()
    )


def test_chosen_images_are_what_means_are_over(
    open_page: Callable[..., AppTest], path: Path
) -> None:
    shown = sent(open_page(study=path, images="1,3", scope="mean"))
    assert (shown["n_images"], shown["n_chosen"]) == (N_IMAGES, 2)
    distance = hs.open_study(path).data["distance"].values[[1, 3]].astype(float).mean(0)
    (metric,) = [each for each in shown["metrics"] if each["key"] == "distance"]
    np.testing.assert_allclose(metric["mean"], distance, rtol=1e-5)  # six digits are sent


def test_images_that_the_study_lacks_are_left_out(
    open_page: Callable[..., AppTest], path: Path
) -> None:
    opened = open_page(study=path, images="1,70-80")
    assert "has 4 images" in words(opened)
    assert sent(opened)["n_chosen"] == 1
    assert opened.query_params["images"] in ("1", ["1"])
