"""Heads in depth, below the linked plots, in each of its states."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app.measuring import pictures, together
from headscope.models.demo import scenes

from .test_page import changed, open_page, rest, sent, words

__all__ = ["open_page"]
N_SCENES = 12


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to measure."""
    for name in ("IMAGES", "LEAST_IMAGES"):
        monkeypatch.setattr(pictures, name, 2)
    for name, most in {"STEPS": 2, "ORDERS": 2, "GREEDY": 48, "HEADS": 3}.items():
        monkeypatch.setattr(together, name, most)
    monkeypatch.setattr(scenes, "HELD_OUT", range(N_SCENES))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes, by zero and mean ablation, one metric of importance and two of attention."""
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(6)]
    checkpoint = hs.load("demo/supervised")
    metrics = ["js_divergence", "entropy", "distance"]
    hs.analyze(checkpoint, images, out=path, ablations=("zero", "mean"), metrics=metrics)
    return path


@pytest.fixture
def on_study(open_page: Callable[..., AppTest], study: Path) -> AppTest:
    return open_page(study=study)


def show(page: AppTest, part: str) -> AppTest:
    page.segmented_control(key="depth_part").set_value(part).run()
    return rest(page)


def captions(page: AppTest) -> str:
    return " ".join(element.value for element in [*page.caption, *page.markdown])


def charts(page: AppTest) -> int:
    return len(page.get("plotly_chart"))


def test_nothing_is_computed_before_a_part_is_opened(on_study: AppTest) -> None:
    assert charts(on_study) == 0
    assert on_study.segmented_control(key="depth_part").value is None


def test_a_study_is_ranked_with_intervals(on_study: AppTest) -> None:
    page = show(on_study, "Ranking")
    assert charts(page) == 1
    assert "bootstrap" in captions(page)
    assert "ero and mean ablation disagree" in captions(page)
    assert "sign-flip test on 6 images" in captions(page)
    assert len(page.get("download_button")) == 1
    page.selectbox(key="depth_chosen").select_index(3).run()
    chosen = page.selectbox(key="depth_chosen").value
    now = page.session_state["selection"]
    assert (now.layer, now.head) == chosen  # the linked plots follow
    assert words(page) == ""


def test_heads_of_a_study_are_removed_together(on_study: AppTest) -> None:
    page = show(on_study, "Together")
    assert charts(page) == 1
    assert "on 2 of the 6 images of the study" in captions(page)
    assert "2 random orders" in captions(page)
    page = show(page, "Synergy")
    assert charts(page) == 1
    assert "backups" in captions(page)
    assert words(page) == ""


def test_one_picture_has_no_intervals_and_says_why(open_page: Callable[..., AppTest]) -> None:
    page = show(open_page(image="scene-8"), "Ranking")
    assert charts(page) == 1
    assert "too few" in captions(page)
    assert "sign-flip" not in captions(page)
    page = show(page, "Together")
    assert "on this picture alone" in captions(page)


def test_a_race_over_scenes_ends_in_a_sentence(open_page: Callable[..., AppTest]) -> None:
    page = show(open_page(image="scene-8"), "Ranking")
    page.segmented_control(key="depth_images").set_value("many").run()
    assert charts(page) == 0
    page.button(key="depth_race_start").click().run()
    page = rest(page)
    assert f"All {N_SCENES} demo scenes were measured" in captions(page)
    assert charts(page) == 1


def test_large_checkpoints_are_asked_for(
    on_study: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "is_quick", lambda _: False)
    page = show(on_study, "Synergy")
    assert charts(page) == 0
    assert "minutes" in captions(page)
    page.button(key="depth_compute synergy").click().run()
    assert charts(rest(page)) == 1


def test_without_its_checkpoint_a_study_is_ranked_and_no_more(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    page = open_page(study=changed(study, tmp_path / "a.zarr", model_digest="another"))
    assert charts(show(page, "Ranking")) == 1
    page = show(page, "Together")
    assert charts(page) == 0
    assert "checkpoint is not there" in captions(page)


def test_why_sets_importance_beside_a_strength(on_study: AppTest) -> None:
    page = show(on_study, "Why")
    assert charts(page) == 1
    assert "Spearman's ρ" in captions(page)
    assert "95 % interval over images" in captions(page)
    page.selectbox(key="why_x").set_value("entropy").run()
    assert "with entropy of attention over 24 heads" in captions(page)
    page.selectbox(key="why_colour").set_value("distance").run()
    assert words(page) == ""
    assert not page.exception


def test_marked_heads_are_in_the_address_and_can_be_unmarked(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study, marked="1.0,5.3,9.9")
    assert "lacks some of the heads" in words(page)
    assert sent(page)["selection"]["marked"] == "1.0,5.3"
    page.button(key="unmark").click().run()
    assert sent(page)["selection"]["marked"] is None
    assert "marked" not in page.query_params
