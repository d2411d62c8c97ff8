"""Sinks in depth: the work behind the part, and the part in each of its states."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope import HeadscopeError
from headscope.analysis.sinks.image import image_sinks
from headscope.analysis.sinks.removal import without_sinks
from headscope.app.jobs import Job
from headscope.app.measuring import pictures
from headscope.app.measuring import sinks as measuring
from headscope.models.demo import scenes

from .test_depth import captions, charts, show
from .test_page import changed, open_page, rest, words

__all__ = ["open_page"]
N_SCENES = 6
MASKED = "sinks:masked"
SINK = (4, 0)
"""A head of the demo that has sinks in most scenes."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to measure."""
    monkeypatch.setattr(scenes, "HELD_OUT", range(N_SCENES))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.stack([scenes.scene(seed).image for seed in range(N_SCENES)])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, crops: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    names = ["entropy", "sink_token", "sink_score"]
    hs.analyze(hs.load("demo/supervised"), list(crops), out=path, importance=False, metrics=names)
    return path


def of(crops: np.ndarray) -> pictures.Pictures:
    return pictures.Pictures("some", "scenes", len(crops), lambda _, places: crops[list(places)])


# -- work ------------------------------------------------------------------------------------------


def test_images_come_in_parts_and_say_what_all_at_once_say(
    demo: hs.Checkpoint, crops: np.ndarray
) -> None:
    heads = (SINK, (5, 1))
    job: Job[Any] = Job("", "")
    found = measuring.over_images(job, demo, of(crops), MASKED, heads)
    assert found.n_images == N_SCENES > measuring.BATCH, "or there is one part only"
    expected = without_sinks(demo, demo.prepare(crops), heads=heads, how=MASKED)
    assert found.output.prediction is not None
    assert found.output.probability is not None
    np.testing.assert_array_equal(found.output.prediction.after, expected.prediction.after)
    at = np.arange(N_SCENES), expected.prediction.before
    # Other batches, other sums in float32; here and below.
    close: Any = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(
        found.output.probability.after, expected.probabilities.after[at], **close
    )
    assert found.output.probability.change.any(), "or the comparison says nothing"
    for name, beside in found.metrics.items():
        every = expected.metrics[name].after
        chosen = np.stack([every[:, layer, head] for layer, head in heads], 1)
        np.testing.assert_allclose(beside.after, chosen, **close)
    flips = expected.prediction.before != expected.prediction.after
    np.testing.assert_array_equal(found.output.flips, np.flatnonzero(flips))


@pytest.mark.parametrize("name", ["demo/registers", "swin_tiny_patch4_window7_224"])
def test_a_map_over_all_queries_is_what_keys_get(name: str, crops: np.ndarray) -> None:
    """Also in windows that shift, whose masks cut places apart."""
    checkpoint = (
        hs.load(name, pretrained=False, image_size=112) if "swin" in name else hs.load(name)
    )
    side = checkpoint.preprocessing.size[0]
    crop = np.resize(crops[0], (side, side, 3))
    shown = (1, 0)
    job: Job[Any] = Job("", "")
    found = measuring.of_picture(job, checkpoint, crop, MASKED, (shown,), shown, None)
    sinks = image_sinks(checkpoint, crop)[shown[0]]
    expected = sinks.received[shown[1]]
    # float32 sums in another order
    np.testing.assert_allclose(found.attention.before, expected, rtol=1e-4, atol=1e-8)
    assert np.ptp(expected) > 1e-5, "or any mean would do"


def test_a_masked_sink_gets_nothing_from_any_query(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    sinks = image_sinks(demo, crops[0])[SINK[0]]
    there = np.flatnonzero(sinks.is_sink[SINK[1]])
    assert len(there)
    job: Job[Any] = Job("", "")
    for query in (None, 0, 30):
        found = measuring.of_picture(job, demo, crops[0], MASKED, (SINK,), SINK, query)
        assert (found.attention.after[there] == 0).all()
        assert (found.attention.before[there] > 0).all()
        # A row, and the mean of rows, sums to 1 in float32.
        np.testing.assert_allclose(found.attention.after.sum(), 1, rtol=1e-5)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities.after.sum(), 1, rtol=1e-9)


def test_without_classes_features_are_compared(known_crops: np.ndarray) -> None:
    featureless = hs.load("vit_small_patch14_dinov2", pretrained=False, image_size=28)
    job: Job[Any] = Job("", "")
    crop = np.resize(known_crops[0], (28, 28, 3))
    found = measuring.of_picture(job, featureless, crop, "sinks[0]:masked", ((0, 0),), (0, 0), None)
    assert found.probabilities is None
    assert found.output.prediction is None
    assert not len(found.output.flips)
    assert 0 < found.output.cosine[0] < 1


def test_layers_without_enough_queries_are_left_out_and_said() -> None:
    cait = hs.load("cait_xxs24_224", pretrained=False, image_size=64)
    every = tuple((layer, head) for layer, n in enumerate(cait.n_heads) for head in range(n))
    kept, reason = measuring.fitting(cait, every, MASKED)
    of_class = [at for at, layer in enumerate(cait.layers) if layer.layout.queries.n_tokens == 1]
    assert of_class, "class attention has one query"
    assert {layer for layer, _ in every} - {layer for layer, _ in kept} == set(of_class)
    assert "too few queries" in reason
    assert measuring.fitting(cait, kept, MASKED) == (kept, "")


def test_large_checkpoints_are_asked_about_fewer_images(demo: hs.Checkpoint) -> None:
    large = hs.load("vit_small_patch16_224", pretrained=False)
    many = pictures.Pictures("", "", 1000, lambda *_: np.zeros(0))
    assert measuring.images_for(demo, many) == measuring.MOST
    assert pictures.LEAST_IMAGES < measuring.images_for(large, many) < measuring.MOST


# -- page ------------------------------------------------------------------------------------------


def test_a_study_shows_its_sinks_and_what_is_left_without_them(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = show(open_page(study=study, layer="4", head="0", marked="1.0,5.1"), "Sinks")
    said = captions(page)
    assert charts(page) == 7
    assert "is the sink" in said
    assert f"Over {N_SCENES} images of the study: a sink in" in said
    assert "heads have a sink" in said
    assert "No massive activation was found" in said
    assert f"of {N_SCENES} images" in said
    assert page.selectbox(key="sinks_which").value == "chosen"
    assert "Changed: layer 4, head 0." in said
    assert "Kang et al. (2025), section 5" in html(page)
    page.selectbox(key="sinks_which").set_value("marked").run()
    page = rest(page)
    assert "Mean over 2 heads" in captions(page)
    assert "not one of those that were changed" in captions(page)
    page.segmented_control(key="sinks_how").set_value("redistributed").run()
    page.slider(key="sinks_kept").set_value(1.0).run()
    page = rest(page)
    assert "Mean over 2 heads" in captions(page)
    assert "The likeliest class stays" in captions(page) or "by a bit" in captions(page)
    assert words(page) == ""
    assert not page.exception


def test_one_picture_says_no_more_than_it_can(open_page: Callable[..., AppTest]) -> None:
    page = show(open_page(image="scene-8", layer="4", head="0"), "Sinks")
    assert "in this image" in captions(page)
    assert "seen on two or more" in captions(page)
    assert "agreement of two" not in captions(page)
    page.segmented_control(key="depth_images").set_value("many").run()
    page = rest(page)
    assert f"Over {N_SCENES} demo scenes" in captions(page)
    page.segmented_control(key="sinks_query").set_value("query").run()
    page = rest(page)
    assert "query: class" in html(page)


def test_removal_on_large_checkpoints_is_asked_for(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "is_quick", lambda _: False)
    page = show(open_page(study=study, layer="4", head="0"), "Sinks")
    assert charts(page) == 5
    page.button(key="asked sinks removed here go").click().run()
    assert charts(rest(page)) == 7
    assert "The prediction flips on" not in captions(page)
    page.button(key="asked sinks removed go").click().run()
    assert "The prediction flips on" in captions(rest(page))


def test_without_its_checkpoint_a_study_says_why_there_is_nothing(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    page = open_page(study=changed(study, tmp_path / "a.zarr", model_digest="another"))
    page = show(page, "Sinks")
    assert charts(page) == 0
    assert "checkpoint is not there" in captions(page)


def test_what_goes_wrong_is_said_and_can_be_tried_again(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise HeadscopeError("There is too little memory for this.")

    monkeypatch.setattr(pictures, "of_study", _renamed(pictures.of_study, "failed"))
    with monkeypatch.context() as broken:
        broken.setattr(measuring, "report", fail)
        page = show(open_page(study=study, layer="4", head="0"), "Sinks")
        assert "too little memory" in words(page)
        assert "is the sink" in captions(page)  # the picture does not need it
        assert charts(page) == 4
    page.button(key="again Looking for sinks").click().run()
    page = rest(page)
    assert words(page) == ""
    assert charts(page) == 7


def test_a_look_that_was_cancelled_can_be_asked_for_again(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(job: Job[Any], *_: Any) -> None:
        while True:
            job.report(0.5)
            time.sleep(0.02)

    monkeypatch.setattr(pictures, "of_study", _renamed(pictures.of_study, "cancelled"))
    page = open_page(study=study, layer="4", head="0")
    with monkeypatch.context() as slow:
        slow.setattr(measuring, "report", endless)
        page.segmented_control(key="depth_part").set_value("Sinks").run()
        assert "Without sinks" not in html(page), "which heads there are is not known yet"
        page.button(key="asked sinks cancel").click().run()
    page = rest(page)
    assert "is the sink" in captions(page)
    assert page.selectbox(key="sinks_which").options[1:] == ["All heads"]
    page.button(key="asked sinks go").click().run()
    assert f"Over {N_SCENES} images" in captions(rest(page))


def test_heads_without_sinks_are_not_run_again(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = show(open_page(study=study, layer="1", head="0"), "Sinks")
    assert "nothing would change" in captions(page)
    assert charts(page) == 5


def html(page: AppTest) -> str:
    return " ".join(element.proto.body for element in page.get("html"))


def _renamed(
    given: Callable[[Any], pictures.Pictures], name: str
) -> Callable[[Any], pictures.Pictures]:
    """Images that nothing was found on before."""

    def found(study: Any) -> pictures.Pictures:
        known = given(study)
        return pictures.Pictures((known.key, name), known.words, known.n, known.crops)

    return found
