"""What if: the queue, the part in each of its states, and its numbers against `ablate` by hand."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis import what_if as analysis
from headscope.app.jobs import Job, Jobs
from headscope.app.measuring import pictures
from headscope.app.measuring import what_if as measuring
from headscope.app.measuring.what_if import Change
from headscope.models.demo import scenes

from .test_depth import captions
from .test_page import open_page, rest, words

__all__ = ["open_page"]
N_SCENES = 6
PART = "What if"


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
    checkpoint = hs.load("demo/supervised")
    labels = [scenes.scene(seed).label for seed in range(N_SCENES)]
    hs.analyze(
        checkpoint, list(crops), out=path, importance=False, metrics=["entropy"], labels=labels
    )
    return path


def payload(page: AppTest, name: str = PART) -> dict[str, Any]:
    """What the part was sent: blocks by kind or name, and all else."""
    for component in page.get("bidi_component"):
        if component.proto.component_name == "headscope_what_if":
            content = json.loads(component.proto.json)
            by_name = {block.get("name", block["kind"]): block for block in content["blocks"]}
            if (name == "explanation") == ("explanation" in by_name):
                return {**content, **by_name}
    raise AssertionError("nothing was drawn")


def switch(page: AppTest, **changes: Any) -> AppTest:
    page.session_state["selection"] = replace(page.session_state["selection"], **changes)
    page.run()
    return rest(page)


# -- the queue -------------------------------------------------------------------------------------


def test_of_ten_quick_clicks_the_running_one_and_the_last_compute(
    demo: hs.Checkpoint, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, passes = threading.Event(), threading.Event(), []
    real = analysis.watch

    def counted(checkpoint: Any, batch: Any, on_layer: Any) -> Any:
        passes.append(on_layer)
        began.set()
        assert go_on.wait(60)
        return real(checkpoint, batch, on_layer)

    monkeypatch.setattr(analysis, "watch", counted)
    jobs = Jobs(workers=8, most=10)

    def click(head: tuple[int, int]) -> Job[Any]:
        job = jobs.start(
            head,
            "",
            lambda job: measuring.here(
                job,
                demo,
                crops[0],
                Change((head,), "zero"),
                statistics=None,
                target=None,
                queries=(),
            ),
        )
        jobs.claim("a session", "what if", head)
        return job

    heads = [(layer, head) for layer in range(5) for head in range(2)]
    first = click(heads[0])
    assert began.wait(60)
    others = [click(head) for head in heads[1:]]
    go_on.set()
    assert others[-1].wait(60)
    assert first.wait(60)
    assert first.result.heads == (heads[0],)
    assert len(passes) == 4  # with and without heads, of two
    assert others[-1].result.heads == (heads[-1],)
    assert all(job.wait(60) and job.stopped for job in others[:-1])


def test_two_sessions_do_not_stop_each_other(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    jobs = Jobs(workers=8, most=10)

    def ask(session: str, head: tuple[int, int]) -> Job[Any]:
        change = Change((head,), "zero")
        job = jobs.start(
            head,
            "",
            lambda job: measuring.here(
                job, demo, crops[0], change, statistics=None, target=None, queries=()
            ),
        )
        jobs.claim(session, "what if", head)
        return job

    with demo.lock:
        both = ask("one", (0, 0)), ask("other", (1, 1))
    assert [job.wait(60) and job.result.heads for job in both] == [((0, 0),), ((1, 1),)]


def test_a_reference_is_what_reference_gives(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    there = pictures.Pictures("six", "scenes", N_SCENES, lambda _, places: crops[list(places)])
    job: Job[Any] = Job("", "")
    found = measuring.reference(job, demo, there)
    expected = hs.reference(demo, demo.prepare(crops))
    assert found.digests == expected.digests
    for ours, theirs in zip(found.mean, expected.mean, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)  # other batches in float32
    assert measuring.needs_reference("mean")
    assert not measuring.needs_reference("zero")


# -- the part --------------------------------------------------------------------------------------


def test_numbers_are_those_of_ablate(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, off="3.1,4.0", layer="5", head="2")
    found = payload(page)
    checkpoint = hs.load("demo/supervised")
    batch = checkpoint.prepare(hs.open_study(study).data["pixels"].values[:1])
    before = checkpoint.probabilities(batch)[0]
    with hs.ablate(checkpoint, [(3, 1), (4, 0)]):
        after = checkpoint.probabilities(batch)[0]
    rows = {row["name"]: row for row in found["prediction"]["rows"]}
    for index in np.argsort(-before)[:5]:
        row = rows[checkpoint.labels[index]]
        # JSON keeps float64; the page's softmax is in float64, the checkpoint's in float32.
        assert row["before"] == pytest.approx(before[index], abs=1e-6)
        assert row["after"] == pytest.approx(after[index], abs=1e-6)
    target = int(before.argmax())
    assert rows[checkpoint.labels[target]]["target"]
    change = 100 * (after[target] - before[target])
    said = found["prediction"]["headline"].replace("−", "-").removesuffix(" points")
    assert float(said) == pytest.approx(change, abs=0.051)
    assert found["prediction"]["flips"] == (before.argmax() != after.argmax())
    expected = analysis.what_if(checkpoint, batch, [(3, 1), (4, 0)])
    order = sorted(
        (-expected.moved[at], at) for at in np.ndindex(6, 4) if expected.moved[at] > 5e-4
    )
    listed = [(one["layer"], one["head"]) for one in found["strip"]["heads"]]
    assert listed == [at for _, at in order[:8]]
    assert found["head"]["title"] == "Layer 5, head 2 · mean of queries"
    assert found["off"] == found["of"] == "3.1,4.0"
    assert not found["waiting"]
    explained = payload(page, "explanation")["explanation"]
    by_hand = hs.without_heads(checkpoint, batch, [(3, 1), (4, 0)], "relevance")
    end = max(np.abs(by_hand.before.values).max(), np.abs(by_hand.after.values).max())
    assert explained["title"] == by_hand.before.method.long_name
    assert float(explained["scale"][0]["high"]) == pytest.approx(end, rel=5e-3)  # three digits
    assert words(page) == ""


def test_nothing_off_says_what_to_do(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART)
    assert "Alt-click" in page.info[0].value
    with pytest.raises(AssertionError, match="nothing was drawn"):
        payload(page)
    assert page.button(key="what_if_none").disabled
    assert page.button(key="what_if_set").disabled


def test_buttons_switch(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, layer="2", head="1", marked="0.0,5.3")
    now = page.session_state

    def press(key: str) -> None:
        page.button(key=key).click().run()
        rest(page)

    press("what_if_chosen")
    assert now["selection"].off == "2.1"
    press("what_if_keep")
    assert now["selection"].off == "2.0,2.2,2.3"
    press("what_if_set")
    assert now["selection"].off == "0.0,5.3"
    press("what_if_sinks")
    assert (now["selection"].off, now["selection"].how) == ("2.1", "sinks:masked")
    press("what_if_chosen")
    assert now["selection"].off is None
    assert "No head is off" in page.info[0].value
    page.button(key="what_if_chosen").click().run()
    press("what_if_none")
    assert now["selection"].off is None


def test_every_head_off(open_page: Callable[..., AppTest], study: Path) -> None:
    every = ",".join(f"{layer}.{head}" for layer in range(6) for head in range(4))
    page = open_page(study=study, part=PART, off=every)
    assert "all heads of the model" in captions(page)
    found = payload(page)
    assert found["strip"]["heads"] == []
    assert found["strip"]["none"]
    assert "not used any more" in found["head"]["text"]
    assert words(page) == ""


@pytest.mark.parametrize("off", ["nonsense", "3.1;drop", "-1.0"])
def test_a_malformed_address_is_said(
    open_page: Callable[..., AppTest], study: Path, off: str
) -> None:
    page = open_page(study=study, part=PART, off=off)
    assert "heads as “3.1,5.0”" in words(page)
    assert "No head is off" in page.info[0].value


def test_heads_that_are_not_there_are_said(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, off="3.1,7.0")
    assert "lacks some of the heads that the link switches off" in words(page)
    assert page.session_state["selection"].off == "3.1"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nobody", "'nobody', is none of the"),
        ("sinks[900]:masked", "it has 145 keys, and no key 900"),
        ("hops>99", "no two of its patches are more than"),
        ("register-to-patch", "it has no register token there"),
    ],
)
def test_an_ablation_that_does_not_fit_is_said(
    open_page: Callable[..., AppTest], study: Path, how: str, said: str
) -> None:
    page = open_page(study=study, part=PART, off="3.1", how=how)
    assert said in words(page)
    assert page.selectbox(key="what_if_form") is not None  # the rest is alive


def test_without_a_checkpoint(open_page: Callable[..., AppTest]) -> None:
    page = open_page(checkpoint="/nowhere/at/all.pth", part=PART, off="3.1")
    assert "so no head of its can be switched off" in captions(page)


def test_what_takes_their_place(open_page: Callable[..., AppTest], study: Path) -> None:
    """Every ablation can be chosen, with its options, and the address follows."""
    page = open_page(study=study, part=PART, off="4.0,4.2,5.2")
    shown = {}
    for form in page.selectbox(key="what_if_form").options:
        name = form.rpartition("(")[2].removesuffix(")")
        page.selectbox(key="what_if_form").set_value(name).run()
        rest(page)
        assert words(page) == "", name
        rows = payload(page)["prediction"]["rows"]
        shown[name] = next(row["after"] for row in rows if row["target"])
    assert set(shown) == {form for form in hs.ablations() if not form.endswith(":renormalised")}
    assert len(set(shown.values())) > 4, "or they are all the same"
    assert shown["keep"] != shown["zero"]


def test_options_of_an_ablation(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, off="3.1", how="class-to-patch:renormalised")
    now = page.session_state
    assert page.selectbox(key="what_if_form").value == "QUERY-to-KEY"
    assert page.checkbox(key="what_if_scaled").value
    page.selectbox(key="what_if_value_0").set_value("patch").run()
    assert now["selection"].how == "patch-to-patch:renormalised"
    page.checkbox(key="what_if_scaled").set_value(False).run()
    assert now["selection"].how == "patch-to-patch"
    page.selectbox(key="what_if_form").set_value("hops>R").run()
    page.text_input(key="what_if_value_0").set_value("5").run()
    assert now["selection"].how == "hops>5"
    page.selectbox(key="what_if_form").set_value("sinks:redistributed").run()
    page.slider(key="what_if_kept").set_value(0.2).run()
    assert now["selection"].how == "sinks:redistributed@0.2"
    rest(page)
    assert words(page) == ""


def test_the_reference_is_the_studys_images(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, off="3.1", how="mean")
    assert f"what they give over {N_SCENES} images of the study" in captions(page)
    checkpoint = hs.load("demo/supervised")
    batch = checkpoint.prepare(hs.open_study(study).data["pixels"].values)
    found = analysis.what_if(
        checkpoint, batch[:1], [(3, 1)], mode="mean", reference=hs.reference(checkpoint, batch)
    )
    row = next(row for row in payload(page)["prediction"]["rows"] if row["target"])
    # The reference's means are sums over other batches in float32.
    assert row["after"] == pytest.approx(float(found.output.probability.after[0]), abs=1e-4)


def test_one_picture(open_page: Callable[..., AppTest]) -> None:
    page = open_page(image="scene-8", part=PART, off="4.0", how="resample", target="0")
    assert f"what they give over {N_SCENES} demo scenes" in captions(page)
    row = next(row for row in payload(page)["prediction"]["rows"] if row["target"])
    assert row["name"] == hs.load("demo/supervised").labels[0], "class 0 is a class"
    assert not [button for button in page.button if "Accuracy" in button.label]


def test_over_the_images_of_a_study(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, part=PART, off="3.1,4.0")
    next(button for button in page.button if "Accuracy" in button.label).click().run()
    rest(page)
    checkpoint = hs.load("demo/supervised")
    data = hs.open_study(study).data
    batch = checkpoint.prepare(data["pixels"].values)
    with hs.ablate(checkpoint, [(3, 1), (4, 0)]):
        after = checkpoint.probabilities(batch)
    before = checkpoint.probabilities(batch)
    table = next(
        each.proto.body for each in page.get("html") if "what-if-images" in each.proto.body
    )
    for side in (before, after):
        right = float((side.argmax(-1) == data["label"].values).mean())
        assert f"<td>{100 * right:.1f} %</td>" in table
        of_target = side[np.arange(N_SCENES), data["target"].values].mean()
        assert f"<td>{100 * of_target:.1f} %</td>" in table
    flips = int((before.argmax(-1) != after.argmax(-1)).sum())
    assert f"flips on {flips} of {N_SCENES} images" in captions(page)


def test_maps_follow_the_query_and_the_explanation_can_be_chosen(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study, part=PART, off="3.1", layer="5", head="0", token="7")
    mean = payload(page)["head"]["maps"]
    page.segmented_control(key="what_if_query").set_value("query").run()
    rest(page)
    head = payload(page)["head"]
    assert head["title"].startswith("Layer 5, head 0 · query patch")
    assert head["maps"] != mean
    page.selectbox(key="what_if_method").set_value("legrad").run()
    rest(page)
    assert payload(page, "explanation")["explanation"]["title"] == "LeGrad"
    page.selectbox(key="what_if_method").set_value("none").run()
    rest(page)
    with pytest.raises(AssertionError, match="nothing was drawn"):
        payload(page, "explanation")


def test_the_old_result_stays_while_the_new_one_is_computed(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope.app.views.depth import what_if as view

    page = open_page(study=study, part=PART, off="3.1")
    before = payload(page)["prediction"]
    go_on = threading.Event()
    real = measuring.here

    def slow(*arguments: Any, **options: Any) -> Any:
        assert go_on.wait(60)
        return real(*arguments, **options)

    monkeypatch.setattr(measuring, "here", slow)
    monkeypatch.setattr(view, "WAIT", 0.1)
    page.session_state["selection"] = replace(page.session_state["selection"], off="5.1")
    page.run()
    found = payload(page)
    assert found["waiting"]
    assert found["prediction"] == before
    assert (found["off"], found["of"]) == ("5.1", "3.1")
    assert page.button(key="what_if_cancel") is not None
    go_on.set()
    rest(page)
    assert payload(page)["of"] == "5.1"
    assert not payload(page)["waiting"]
