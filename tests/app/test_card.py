"""The script's side of the head card, the small multiples, and what numbers are."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis.about import about
from headscope.analysis.importance.intervals import bootstrap_interval, t_interval
from headscope.analysis.maps import head_maps
from headscope.analysis.multiples import by_decile
from headscope.analysis.patterns import fit_patterns
from headscope.app import services
from headscope.models.demo import scenes

from .test_page import changed, open_page, words

__all__ = ["open_page"]
METRICS = ["js_divergence", "distance", "entropy", "sink_score", "sink_token", "map_cosine"]
N = 12
KINDS = {"float32": np.float32, "int32": np.int32, "uint8": np.uint8}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "twelve.zarr"
    images = [scenes.scene(seed).image for seed in range(N)]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=METRICS)
    fit_patterns(hs.open_study(path), clusters=3, umap=False).save(hs.open_study(path))
    return path


def parts(page: AppTest) -> dict[str, Any]:
    """What each panel was brought, unpacked."""
    found = {}
    for component in page.get("bidi_component"):
        if component.proto.component_name == "headscope_bring":
            part = unpacked(component.proto.bytes)
            found[part["panel"]] = part
    return found


def unpacked(data: bytes) -> Any:
    start = 4 + int.from_bytes(data[:4], "little")

    def opened(value: dict[str, Any]) -> Any:
        if "$array" not in value:
            return value
        offset, size, kind = value["$array"]
        return np.frombuffer(data[start + offset :][:size], KINDS[kind]).reshape(value["shape"])

    return json.loads(data[4:start], object_hook=opened)


def settled(page: AppTest, *names: str) -> dict[str, Any]:
    """The parts once nothing runs; the browser asks again by itself."""
    deadline = time.monotonic() + 120
    while any(parts(page)[name].get("running") for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        page.run()
    assert not page.exception
    return parts(page)


def wish(page: AppTest, **wants: Any) -> AppTest:
    page.session_state["asked"] = {"multiples": wants}
    return page.run()


def test_intervals_are_those_of_the_scores(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study)
    part = settled(page, "card")["card"]
    data = hs.open_study(study).data
    expected = bootstrap_interval(data["js_divergence"].values[:, 0].astype(float))
    found = part["intervals"]["js_divergence"]
    np.testing.assert_allclose(found["low"], expected.low, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found["high"], expected.high, rtol=1e-5, atol=1e-9)
    assert (found["n"] == N).all()
    quick = t_interval(data["distance"].values.astype(float))
    np.testing.assert_allclose(part["intervals"]["distance"]["low"], quick.low, rtol=1e-5)
    assert "sink_token" not in part["intervals"]  # no mean of indices


def test_intervals_are_over_the_images_that_are_chosen(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    part = settled(open_page(study=study, images="0-6,9"), "card")["card"]
    chosen = [*range(7), 9]
    scores = hs.open_study(study).data["js_divergence"].values[chosen, 0].astype(float)
    expected = bootstrap_interval(scores)
    np.testing.assert_allclose(part["intervals"]["js_divergence"]["low"], expected.low, rtol=1e-5)
    assert (part["intervals"]["js_divergence"]["n"] == 8).all()


def test_the_card_knows_patterns_sinks_and_similar_heads(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    part = settled(open_page(study=study), "card")["card"]
    found = hs.open_patterns(hs.open_study(study))
    at = {
        tuple(head[1:]): index
        for head, index in zip(found.heads.heads.tolist(), found.heads.modal, strict=True)
    }
    assert part["patterns"]["names"] == found.names
    assert part["patterns"]["modal"][4, 2] == at[4, 2]
    similarity = hs.open_study(study).data["map_cosine"].values
    (sort,) = part["nearest"]
    assert sort["key"] == "map_cosine"
    first = tuple(sort["heads"][3, 1, 0].tolist())
    others = similarity[3, 1].copy()
    others[3, 1] = -1
    assert first == np.unravel_index(others.argmax(), others.shape)
    assert len(part["sinks"]["token"]) == 6
    assert part["measured_sinks"] is None


def test_one_picture_has_no_interval(open_page: Callable[..., AppTest]) -> None:
    page = open_page(image="scene-8")
    part = settled(page, "card")["card"]
    assert part["intervals"] == {}
    assert part["nearest"]  # two heads can be compared on one picture
    waiting = parts(page)["multiples"]["waiting"]
    assert "One picture has no deciles" in waiting
    assert "headscope analyze" in waiting


def test_what_numbers_are_is_said(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    import zarr

    old = hs.open_study(study).save(tmp_path / "old.zarr").path
    assert old is not None
    group = zarr.open_group(old, mode="r+")
    group["entropy"].attrs["description"] = "As it was described then."
    variables = json.loads(str(group.attrs["variables"]))
    gone = group.create_array(
        "brightness",
        shape=(N, 6, 4),
        chunks=(1, 6, 4),
        dtype="float32",
        dimension_names=("image", "layer", "head"),
        attributes={
            "long_name": "Brightness",
            "units": "share",
            "description": "a / b. Range: 0 to 1.",
        },
        config={"write_empty_chunks": True},
    )
    gone[...] = np.zeros((N, 6, 4))
    group.attrs["variables"] = json.dumps([*variables, "brightness"])
    part = settled(open_page(study=old), "about")["about"]
    assert part["metrics"]["entropy"] == vars(about("entropy"))
    assert part["metrics"]["brightness"]["formula"] == "a / b."
    assert part["metrics"]["brightness"]["range"] == "0 to 1."
    assert part["metrics"]["map_cosine"]["source"]
    assert "output is 0" in part["ablations"]["zero"]


def test_multiples_are_the_images_of_the_deciles(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study, layer="4", head="2", metric="distance")
    part = settled(page, "multiples")["multiples"]
    data = hs.open_study(study).data
    places = by_decile(data["distance"].values[:, 4, 2].astype(float))
    names = [str(data["image"].values[place.image]) for place in places]
    assert [item["image"] for item in part["items"]] == names
    assert (part["layer"], part["head"], part["by"]) == (4, 2, "distance")
    crops = data["pixels"].values[[place.image for place in places]]
    maps = head_maps(hs.load("demo/supervised"), crops, 4, 2)
    shown = part["weights"] / 255 * part["scale"][..., None]
    for image, of in enumerate(maps):
        np.testing.assert_allclose(shown[image], of.dense(2), atol=1e-6)


def test_another_number_orders_them_anew(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, layer="1", head="3")
    part = settled(wish(page, by="sink_score"), "multiples")["multiples"]
    assert part["by"] == "sink_score"
    values = [item["value"] for item in part["items"]]
    assert values == sorted(values)
    assert values[0] < values[-1]
    assert "map_cosine" not in part["choices"]
    part = settled(wish(page, by="no such number"), "multiples")["multiples"]
    assert part["by"] == "js_divergence"


def test_before_anyone_chose_it_is_the_head_that_the_browser_shows(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study)
    part = settled(wish(page, head=[2, 1]), "multiples")["multiples"]
    assert (part["layer"], part["head"]) == (2, 1)
    for nonsense in ([9, 0], [0, 9], [-1, 0], ["a", 1], 3):
        page = wish(page, head=nonsense)
        assert not page.exception, nonsense


def test_without_the_checkpoint_there_are_no_maps(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    page = open_page(study=changed(study, tmp_path / "a.zarr", model_digest="another"))
    assert "checkpoint of this study is not there" in parts(page)["multiples"]["waiting"]
    assert settled(page, "card")["card"]["intervals"]


def test_a_click_drops_the_maps_that_nobody_waits_for(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope.app.measuring import multiples

    begun: list[tuple[int, int]] = []
    real = multiples.maps

    def slow(job: Any, checkpoint: Any, crops: Any, layer: int, head: int) -> Any:
        begun.append((layer, head))
        if (layer, head) == (0, 0):
            for _ in range(600):
                job.report(0)  # raises once nobody waits
                time.sleep(0.05)
        return real(job, checkpoint, crops, layer, head)

    monkeypatch.setattr(multiples, "maps", slow)
    page = open_page(study=study, layer="0", head="0", metric="entropy")
    assert parts(page)["multiples"]["running"]
    jobs = services.jobs_of_multiples()
    (waiting,) = (job for job in jobs._jobs.values() if job.running)
    page.session_state["selection"] = page.session_state["selection"].__class__(
        **{**vars(page.session_state["selection"]), "layer": 3}
    )
    page.run()
    part = settled(page, "multiples")["multiples"]
    assert (part["layer"], part["head"]) == (3, 0)
    assert waiting.wait(10)
    assert waiting.stopped
    assert begun == [(0, 0), (3, 0)]
    assert words(page) == ""
