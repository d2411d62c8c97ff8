"""The explanation bench in each of its states, without a browser."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.heads import head_shares
from headscope.app.jobs import Job, Stopped
from headscope.app.measuring import explaining, pictures, trust
from headscope.models.demo import scenes

from .test_depth import captions, charts, show
from .test_page import PATIENCE, open_page, rest, sent, words

__all__ = ["open_page"]
TRUE, HEADS, PATCHES = "True to the model?", "Which heads carry it?", "How many patches?"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to measure."""
    for name in ("IMAGES", "LEAST_IMAGES"):
        monkeypatch.setattr(pictures, name, 2)
        monkeypatch.setattr(trust, name, 2)
    monkeypatch.setattr(trust, "SEEDS", (0,))
    monkeypatch.setattr(scenes, "HELD_OUT", range(4))


@pytest.fixture
def bench(open_page: Callable[..., AppTest]) -> AppTest:
    return show(open_page(image="scene-8"), "Explain")


def ask(page: AppTest, question: str) -> AppTest:
    page.segmented_control(key="bench_question").set_value(question).run()
    return rest(page)


def cards(page: AppTest) -> dict[str, dict[str, Any]]:
    """What the maps were sent, by name."""
    found = [
        json.loads(component.proto.json)
        for component in page.get("bidi_component")
        if component.proto.component_name == "headscope_explanation"
    ]
    return {card["name"]: card for card in found}


def tables(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def figure(page: AppTest, place: int = 0) -> dict[str, Any]:
    return json.loads(page.get("plotly_chart")[place].proto.spec)


def test_maps_stand_side_by_side(bench: AppTest) -> None:
    shown = cards(bench)
    assert [*shown] == ["Raw attention", "Attention rollout", "Grad-CAM", "Relevance (Chefer)"]
    assert shown["Raw attention"]["low"] == "0"
    assert shown["Grad-CAM"]["low"] == "−" + shown["Grad-CAM"]["high"]
    assert captions(bench).count("The same for every class") == 2
    label = hs.load("demo/supervised").labels[scenes.scene(8).label]
    assert f"the predicted class, '{label}'" in captions(bench)
    assert "Choose the target in the sidebar" in captions(bench)
    assert charts(bench) == 0  # no question yet
    assert words(bench) == ""


def test_options_of_a_method_change_its_map(bench: AppTest) -> None:
    before = cards(bench)
    bench.number_input(key="bench_option raw-attention layer").set_value(0).run()
    after = cards(rest(bench))
    assert after["Raw attention"]["source"] != before["Raw attention"]["source"]
    assert after["Grad-CAM"]["source"] == before["Grad-CAM"]["source"]
    bench.number_input(key="bench_option raw-attention layer").set_value(99).run()
    assert "99" in words(rest(bench))  # a sentence in the card's place
    assert "Raw attention" not in cards(bench)


def test_told_from_the_runner_up(bench: AppTest) -> None:
    before = cards(bench)
    bench.selectbox(key="bench_against").set_value(-1).run()
    after = cards(rest(bench))
    assert "less that of the runner-up" in captions(bench)
    assert after["Grad-CAM"]["source"] != before["Grad-CAM"]["source"]
    assert after["Raw attention"]["source"] == before["Raw attention"]["source"]


def test_the_hottest_cell_becomes_the_query(bench: AppTest) -> None:
    bench.button(key="bench_go relevance").click().run()
    x, y = map(float, rest(bench).session_state["selection"].place.split(","))
    checkpoint = hs.load("demo/supervised")
    found = explain(checkpoint, scenes.scene(8).image, "relevance")
    height, width = found.cell_px
    assert found.values[0, int(y // height), int(x // width)] == found.values[0].max()
    assert sent(bench)["selection"]["place"] == f"{x:.0f},{y:.0f}"


def test_curves_have_baselines_a_player_and_a_table(bench: AppTest) -> None:
    page = ask(bench, TRUE)
    assert charts(page) == 1
    names = {trace["name"] for trace in figure(page)["data"] if "name" in trace}
    assert {"Relevance (Chefer)", "Centre (baseline)", "Random (baseline)"} <= names
    table = tables(page)
    assert "Pointing game" in table  # the scene says where its objects are
    assert table.count('class="hs-baseline"') == 2
    page.selectbox(key="bench_follow").set_value("relevance").run()
    assert len(figure(page)["frames"]) == 19
    assert words(page) == ""


def test_random_weights_are_checked_where_asked(bench: AppTest) -> None:
    bench.multiselect(key="bench_methods").set_value(["relevance"]).run()
    page = ask(rest(bench), TRUE)
    assert "changes with the weights" not in captions(page)
    page.button(key="bench_compute weights").click().run()
    page = rest(page)
    assert "Relevance (Chefer) changes with the weights" in captions(page)
    assert words(page) == ""


def test_a_map_that_ignores_the_weights_is_marked_on_its_card(
    bench: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope.analysis.faithfulness import randomisation

    monkeypatch.setattr(randomisation, "LIMIT", -1.0)  # no map passes
    bench.multiselect(key="bench_methods").set_value(["rollout"]).run()
    page = ask(rest(bench), TRUE)
    page.button(key="bench_compute weights").click().run()
    page = rest(page)
    page.run()
    assert "Attention rollout hardly changes" in words(page)


def test_many_pictures_have_intervals(bench: AppTest) -> None:
    bench.multiselect(key="bench_methods").set_value(["relevance"]).run()
    page = ask(rest(bench), TRUE)
    page.segmented_control(key="bench_images").set_value("many").run()
    page.button(key="bench_compute table").click().run()
    page = rest(page)
    assert "Mean over 2 of 4 demo scenes" in captions(page)
    assert "…" in tables(page)
    assert "Energy in the mask" in tables(page)
    assert "the centre baseline" in captions(page)


def test_heads_have_shares_and_can_be_taken_away(bench: AppTest) -> None:
    page = ask(bench, HEADS)
    assert charts(page) == 2
    assert "they sum to 100 %" in captions(page)
    assert "Rank correlation of the two maps" in captions(page)
    page.selectbox(key="bench_heads_map").set_value("relevance").run()
    heat = figure(rest(page), 1)["data"][0]["z"]
    found = explain(hs.load("demo/supervised"), scenes.scene(8).image, "relevance")

    shown = np.array(_plain(heat), float)
    assert np.allclose(shown, head_shares(found)[0], atol=1e-5)  # float32, in other batches
    assert words(page) == ""


def _plain(value: Any) -> Any:
    """Plotly writes arrays as lists, or as base64."""
    if isinstance(value, dict):
        import base64

        raw = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])
        return raw.reshape([int(n) for n in value["shape"].split(",")])
    return value


def test_methods_without_heads_say_which_have_them(bench: AppTest) -> None:
    bench.multiselect(key="bench_methods").set_value(["token-cut"]).run()
    page = ask(rest(bench), HEADS)
    assert charts(page) == 0
    assert "Add Relevance" in " ".join(element.value for element in page.info)


def test_patches_go_until_the_decision_does(bench: AppTest) -> None:
    bench.multiselect(key="bench_methods").set_value(["relevance"]).run()
    page = ask(rest(bench), PATCHES)
    assert charts(page) == 2
    assert "of 144 patches" in tables(page)
    assert "dropped before the first block" in captions(page)
    assert words(page) == ""


def test_a_study_has_a_fixed_target(open_page: Callable[..., AppTest], tmp_path: Path) -> None:
    path = tmp_path / "two.zarr"
    images = [scenes.scene(seed).image for seed in range(2)]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=["entropy"], target=3)
    page = show(open_page(study=path), "Explain")
    assert "It is the study's, and fixed" in captions(page)
    label = hs.load("demo/supervised").labels[3]
    assert f"logit of '{label}'" in captions(page)
    assert len(cards(page)) == 4


def _without_classes() -> None:
    """The bench alone, as a script."""
    import numpy as np

    import headscope as hs
    from headscope.app.views.depth import bench
    from headscope.app.views.depth.subject import Subject

    checkpoint = hs.load("vit_small_patch16_dinov3", pretrained=False, image_size=64)
    photograph = hs.sample_images()["coffee"].read()
    crop = np.asarray(checkpoint.crop(photograph))
    bench.show(Subject(checkpoint, photograph=photograph, crop=crop))


def test_a_model_without_classes_has_no_decision() -> None:
    page = rest(AppTest.from_function(_without_classes, default_timeout=PATIENCE).run())
    assert "how strong the picture's own features are" in captions(page)
    assert "bench_against" not in page.session_state  # nothing to tell it from
    page = ask(page, PATCHES)
    if page.get("button") and "bench_compute patches" in {each.key for each in page.button}:
        page = rest(page.button(key="bench_compute patches").click().run())
    assert "no decision to keep" in captions(page)
    assert figure(page)["layout"]["yaxis"]["title"]["text"] == "Score"
    assert words(page) == ""


def test_a_stopped_map_does_not_begin() -> None:
    checkpoint = hs.load("demo/supervised")
    crop = checkpoint.crop(hs.sample_images()["scene-8"].read())
    job: Job[Any] = Job("key", "RISE")
    job.stop()
    with pytest.raises(Stopped):
        explaining.explanation(job, checkpoint, explaining.Decision(crop, None, None), "rise", {})
    assert job.done_share == 0


def test_a_scene_knows_where_its_objects_are() -> None:
    checkpoint = hs.load("demo/supervised")
    drawn = scenes.scene(8)
    mask = trust.mask_of(hs.sample_images()["scene-8"].read(), checkpoint)
    assert mask is not None
    assert np.array_equal(mask, drawn.target.mask | drawn.star.mask)
    other = hs.read_image(scenes.scene(9).image, name="scene-8")
    assert trust.mask_of(other, checkpoint) is None
