"""The part "Patterns" of heads in depth, in each of its states."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis.patterns import Patterns, fit_patterns, open_patterns
from headscope.analysis.patterns.storage import which_patterns
from headscope.app.measuring import patterns as work
from headscope.app.measuring import pictures
from headscope.models.demo import scenes

from .test_depth import captions, charts, show
from .test_page import changed, open_page, rest, sent, words

__all__ = ["open_page"]
N_IMAGES = 8


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to learn from."""
    monkeypatch.setattr(work, "IMAGES", 6)
    monkeypatch.setattr(scenes, "HELD_OUT", range(9))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight scenes without patterns."""
    path = tmp_path_factory.mktemp("study") / "eight.zarr"
    images = [scenes.scene(seed).image for seed in range(N_IMAGES)]
    metrics = ["js_divergence", "entropy"]
    labels = [0, 1] * (N_IMAGES // 2)
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics, labels=labels)
    return path


@pytest.fixture(scope="module")
def patterns(bare: Path) -> Patterns:
    return fit_patterns(hs.open_study(bare), clusters=3, umap=False)


@pytest.fixture(scope="module")
def study(bare: Path, patterns: Patterns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with patterns."""
    path = hs.open_study(bare).save(tmp_path_factory.mktemp("study") / "with.zarr").path
    assert path is not None
    patterns.save(hs.open_study(path))
    return path


def copied(study: Path, place: Path) -> Path:
    path = hs.open_study(study).save(place).path
    assert path is not None
    return path


def scatter(page: AppTest) -> Any:
    """The chart of the plane, as the browser gets it."""
    return next(each for each in page.get("plotly_chart") if "patterns_dots" in each.proto.id)


def traces(page: AppTest) -> dict[str, Any]:
    return {trace["name"]: trace for trace in json.loads(scatter(page).proto.spec)["data"]}


def pick(page: AppTest, points: list[dict[str, Any]], **how: Any) -> AppTest:
    """What the browser tells of a click or a box; AppTest has no other way."""
    states = page._tree.get_widget_states()
    state = states.widgets.add()
    state.id = scatter(page).proto.id
    picked = {"points": points, "point_indices": [], "box": [], "lasso": [], **how}
    state.string_value = json.dumps({"selection": picked})
    page._run(states)
    return rest(page)


def test_the_patterns_of_a_study_are_shown(open_page: Callable[..., AppTest], study: Path) -> None:
    page = show(open_page(study=study), "Patterns")
    assert words(page) == ""
    assert charts(page) == 4
    said = captions(page)
    assert f"3 patterns** in the maps of 24 heads × {N_IMAGES} images of the study" in said
    assert "as saved in the study" in said
    assert "headscope patterns with.zarr" in said
    assert "The number was given" in said
    dots = traces(page)
    assert sum(len(dots[name]["x"]) for name in open_patterns(hs.open_study(study)).names) == 192
    assert len(dots["chosen head"]["x"]) == N_IMAGES
    assert len(page.get("download_button")) == 1


def test_a_dot_chooses_head_and_image_and_a_box_marks(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = show(open_page(study=study), "Patterns")
    page = pick(page, [{"customdata": [4, 2, 3]}])
    now = page.session_state["selection"]
    names = hs.open_study(study).data["image"].values
    assert (now.layer, now.head, now.image) == (4, 2, str(names[3]))
    assert sent(page)["image"] == str(names[3])
    assert f"In {names[3]}: " in captions(page)
    page = pick(page, [{"customdata": [1, 2, 0]}, {"customdata": [0, 1, 5]}, {}], box=[{"x": [0]}])
    now = page.session_state["selection"]
    assert (now.layer, now.head) == (4, 2)
    assert now.marked == "0.1,1.2"
    assert len(traces(page)["marked"]["x"]) == 2 * N_IMAGES


def test_heads_are_chosen_and_marked_on_the_cards(
    open_page: Callable[..., AppTest], study: Path, patterns: Patterns
) -> None:
    page = show(open_page(study=study), "Patterns")
    page.button(key="patterns_mark 1").click().run()
    heads = patterns.heads
    mostly = [tuple(head) for head in heads.heads[heads.modal == 1, 1:].tolist()]
    assert page.session_state["selection"].marked_heads == tuple(sorted(mostly))
    _, layer, head, _ = patterns.clusters[2].heads[0]
    page.button(key=f"patterns_head 2 {layer} {head}").click().run()
    now = page.session_state["selection"]
    assert (now.layer, now.head) == (layer, head)


def test_groups_are_made_anew_without_learning(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = show(open_page(study=study), "Patterns")
    monkeypatch.setattr(work, "learn", None)  # would fail
    page.selectbox(key="patterns_how").set_value("5").run()
    assert "5 patterns" in captions(rest(page))
    page.selectbox(key="patterns_how").set_value(work.AUTO).run()
    assert "Chosen: the fewest whose silhouette" in captions(rest(page))
    page.selectbox(key="patterns_how").set_value(work.DENSITY).run()
    page = rest(page)
    # On so few maps HDBSCAN may find none; then a sentence says so, and the choice is still there.
    failed = words(page)
    assert ("HDBSCAN finds no cluster" if failed else "HDBSCAN found the number") in (
        failed or captions(page)
    )
    page.selectbox(key="patterns_how").set_value(work.AS_LEARNED).run()
    assert "3 patterns" in captions(rest(page))


def test_dots_are_coloured_by_importance_layer_and_class(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = show(open_page(study=study), "Patterns")
    choice = page.selectbox(key="patterns_colour")
    first, second, third, *classes = choice.options
    assert (first, second) == ("Pattern", "Layer")
    assert "JS" in third or "Jensen" in third
    assert classes == ["Class in the image", "Predicted class"]
    choice.set_value("label").run()
    labels = hs.open_study(study).labels
    dots = traces(page)
    for label in labels[:2]:
        assert len(dots[label.split(",")[0]]["x"]) == 24 * N_IMAGES // 2
    page.selectbox(key="patterns_colour").set_value("js_divergence").run()
    data = hs.open_study(study).data["js_divergence"].squeeze("ablation", drop=True)
    values = data.transpose("image", "layer", "head").values
    shown = traces(page)["heads"]
    for (layer, head, place), value in zip(
        shown["customdata"][:50], shown["marker"]["color"][:50], strict=True
    ):
        assert value == pytest.approx(float(values[place, layer, head]))
    page.selectbox(key="patterns_colour").set_value("layer").run()
    shown = traces(page)["heads"]
    assert shown["marker"]["color"] == [layer for layer, _, _ in shown["customdata"]]


def test_what_is_learned_now_can_be_saved(
    open_page: Callable[..., AppTest], bare: Path, tmp_path: Path
) -> None:
    path = copied(bare, tmp_path / "a.zarr")
    page = show(open_page(study=path), "Patterns")
    assert words(page) == ""
    assert f"24 heads × 6 of the {N_IMAGES} images of the study" in captions(page)
    assert which_patterns(hs.open_study(path)) is None
    page.button(key="patterns_save_button").click().run()
    page = rest(page)
    kept = open_patterns(hs.open_study(path))
    assert len(kept.maps) == 24 * 6
    assert "as saved in the study" in captions(page)
    page.selectbox(key="patterns_how").set_value("4").run()
    rest(page).button(key="patterns_save_button").click().run()
    rest(page)
    assert open_patterns(hs.open_study(path)).clustering.n == 4


def test_a_study_that_cannot_be_written_says_so(
    open_page: Callable[..., AppTest], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    page = show(open_page(study=bare), "Patterns")
    assert "cannot be written" in captions(page)
    assert not [each for each in page.button if each.key == "patterns_save_button"]


def test_one_picture_lies_among_the_patterns_of_scenes(open_page: Callable[..., AppTest]) -> None:
    page = show(open_page(image="scene-8"), "Patterns")
    assert words(page) == ""
    said = captions(page)
    assert "24 heads × 6 of the 9 demo scenes" in said
    assert "maps of this picture are set among them" in said
    assert len(traces(page)["this picture"]["x"]) == 24
    assert "In scene-8, which was not learned from" in said
    page = show(page, "Why")
    page.selectbox(key="why_colour").set_value("pattern").run()
    assert not page.exception
    (chart,) = page.get("plotly_chart")
    drawn = json.loads(chart.proto.spec)["data"]
    assert sum(len(each["x"]) for each in drawn if "customdata" in each) == 24


def test_why_colours_by_the_patterns_that_a_study_has(
    open_page: Callable[..., AppTest], study: Path, bare: Path, patterns: Patterns
) -> None:
    page = show(open_page(study=study), "Why")
    page.selectbox(key="why_colour").set_value("pattern").run()
    (chart,) = rest(page).get("plotly_chart")
    drawn = {each["name"]: each for each in json.loads(chart.proto.spec)["data"]}
    heads = patterns.heads
    for index, name in enumerate(patterns.names):
        expected = heads.heads[heads.modal == index, 1:].tolist()
        assert sorted(drawn[name]["customdata"] if expected else []) == expected
    page = show(open_page(study=bare), "Why")
    assert "pattern" not in [str(each).lower() for each in page.selectbox(key="why_colour").options]


def test_patterns_need_no_checkpoint_once_they_are_saved(
    open_page: Callable[..., AppTest], study: Path, bare: Path, tmp_path: Path
) -> None:
    page = show(
        open_page(study=changed(bare, tmp_path / "a.zarr", model_digest="another")), "Patterns"
    )
    assert charts(page) == 0
    assert "none can be learned" in captions(page)
    gone = changed(study, tmp_path / "b.zarr", loaded_with=json.dumps({"name": "/nowhere.pth"}))
    page = show(open_page(study=gone), "Patterns")
    assert charts(page) == 4
    assert "In array: " in captions(page)


def test_few_images_are_set_among_the_patterns_of_others(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    path = tmp_path / "two.zarr"
    images = [scenes.scene(seed).image for seed in (20, 21)]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=["entropy"])
    page = show(open_page(study=path), "Patterns")
    assert "6 of the 9 demo scenes" in captions(page)
    assert len(traces(page)["images of the study"]["x"]) == 48
    assert not [each for each in page.button if each.key == "patterns_save_button"]


def test_large_checkpoints_are_asked_for(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "is_quick", lambda _: False)
    page = show(open_page(image="scene-8"), "Patterns")
    assert charts(page) == 0
    assert "Minutes for this checkpoint" in captions(page)
    page.button(key="patterns_learn").click().run()
    assert charts(rest(page)) == 4


def test_what_goes_wrong_is_said(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "HELD_OUT", range(3))
    page = show(open_page(image="scene-8"), "Patterns")
    assert "too few to learn patterns from" in words(page)
    assert charts(page) == 0


def test_seeds_are_tried_on_demand(open_page: Callable[..., AppTest], study: Path) -> None:
    page = show(open_page(study=study), "Patterns")
    assert "with five seeds" in captions(page)
    page.button(key="patterns_try").click().run()
    assert "Adjusted Rand index over 5 seeds" in captions(rest(page))
    assert "Numbers of patterns that the seeds found: 3, 3, 3, 3, 3" in captions(page)


def test_umap_is_laid_out_by_a_job_of_its_own(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # UMAP itself takes half a minute the first time; here it is PCA that is scaled by 2.
    from dataclasses import replace

    def scaled(_: Any, patterns: Patterns) -> Any:
        pca = patterns.projections["pca"]
        return replace(pca, method="umap", points=2 * pca.points)

    monkeypatch.setattr(work, "laid_out", scaled)
    page = show(open_page(study=study), "Patterns")
    before = traces(page)["chosen head"]["x"]
    page.segmented_control(key="patterns_plane").set_value("UMAP").run()
    after = traces(rest(page))["chosen head"]["x"]
    assert after == pytest.approx([2 * x for x in before])
    assert "Distances between groups mean little" in captions(page)
