"""The script of the page, without a browser: what it says in each state."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app import services
from headscope.app.serve import STUDIES

MAIN = Path(services.__file__).with_name("main.py")
PATIENCE = 60


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens the page at an address, on a study if one is given, and waits until it rests."""

    def opened(*, study: Path | None = None, **query: str) -> AppTest:
        if study is None:
            monkeypatch.delenv(STUDIES, raising=False)
        else:
            monkeypatch.setenv(STUDIES, str(study))
        page = AppTest.from_file(str(MAIN), default_timeout=PATIENCE)
        for key, value in query.items():
            page.query_params[key] = value
        page.run()
        return rest(page)

    return opened


def rest(page: AppTest) -> AppTest:
    """Run the page until nothing is being computed; the browser does so by timers."""
    deadline = time.monotonic() + PATIENCE
    while (page.get("progress") or waits(page)) and time.monotonic() < deadline:
        time.sleep(0.2)
        page.run()
    assert not page.exception
    return page


def waits(page: AppTest) -> bool:
    """Whether a part asks to be run again, but for what follows the selection."""
    return any(
        component.proto.component_name == "headscope_again"
        and "followed" not in component.proto.id
        and json.loads(component.proto.json)["after"] is not None
        for component in page.get("bidi_component")
    )


def sent(page: AppTest) -> dict:
    """What the linked plots were sent."""
    for component in page.get("bidi_component"):
        if component.proto.component_name == "headscope_linked":
            return json.loads(component.proto.json)
    raise AssertionError("the page has no linked plots")


def words(page: AppTest) -> str:
    return " ".join(element.value for element in [*page.warning, *page.error])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "one.zarr"
    hs.analyze(hs.load("demo/supervised"), [hs.sample_images()["scene-8"].read()], out=path)
    return path


def test_the_page_opens_on_the_demo(open_page: Callable[..., AppTest]) -> None:
    page = open_page()
    scene = sent(page)
    assert page.selectbox(key="checkpoint").value == "demo/supervised"
    assert scene["n_heads"] == [4] * 6
    assert scene["metrics"][0]["key"] == "probability_drop"
    assert scene["feed"]
    assert words(page) == ""


def test_any_name_of_timm_opens(open_page: Callable[..., AppTest]) -> None:
    page = open_page(checkpoint="test_vit", weights="random", image="coffee")
    assert page.selectbox(key="checkpoint").value == "test_vit"
    assert sent(page)["n_heads"] == list(hs.load("test_vit", pretrained=False).n_heads)
    assert sent(page)["metrics"]


def test_layers_may_differ_in_tokens(open_page: Callable[..., AppTest]) -> None:
    page = open_page(checkpoint="pvt_v2_b0", weights="random", image="coffee")
    scene = sent(page)
    grids = [scene["tokens"][layer["queries"]]["grid"] for layer in scene["layers"]]
    assert grids == [[side, side] for side in (56, 56, 28, 28, 14, 14, 7, 7)]
    assert scene["layers"][0]["attention"] == "pooled keys"
    assert scene["profile"]["hops"] == [7] * 8


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"checkpoint": "no_such_vit"}, "no_such_vit"),
        ({"checkpoint": "resnet18", "weights": "random"}, "ResNet"),
        ({"checkpoint": "/nowhere/at/all.pth"}, "/nowhere/at/all.pth"),
        ({"image": "nobody"}, "no sample picture 'nobody'"),
        ({"image": "upload:" + 64 * "0"}, "no longer on the server"),
        ({"study": "other.zarr"}, "other.zarr"),
        ({"layer": "1", "head": "99"}, "no head 99"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_there_is_said(
    open_page: Callable[..., AppTest], query: dict[str, str], said: str
) -> None:
    page = open_page(**query)
    assert said in words(page)
    assert "Traceback" not in words(page)
    assert sent(page) is not None


def test_a_study_opens_with_maps_of_its_checkpoint(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study)
    scene = sent(page)
    assert scene["image"] == "scene-8"
    assert scene["feed"]
    assert scene["metrics"]
    assert words(page) == ""


def changed(study: Path, place: Path, **attributes: str) -> Path:
    copy = hs.open_study(study).save(place).path
    assert copy is not None
    zarr.open_group(copy, mode="r+").attrs.update(attributes)
    return copy


def test_a_study_whose_checkpoint_changed_shows_its_numbers(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    page = open_page(study=changed(study, tmp_path / "a.zarr", model_digest="another"))
    assert "other weights" in words(page)
    assert sent(page)["metrics"]
    assert sent(page)["feed"] is None


def test_a_study_whose_checkpoint_is_gone_shows_its_numbers(
    open_page: Callable[..., AppTest], study: Path, tmp_path: Path
) -> None:
    page = open_page(study=changed(study, tmp_path / "b.zarr", model="demo/gone"))
    assert "demo/gone" in words(page)
    assert sent(page)["metrics"]


def test_a_damaged_study_is_said_and_the_demo_works(
    open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    (tmp_path / "c.zarr").mkdir()
    page = open_page(study=tmp_path / "c.zarr")
    assert "c.zarr" in words(page)
    assert page.selectbox(key="checkpoint").value == "demo/supervised"
    assert sent(page)["metrics"]


def test_a_cancelled_measurement_can_be_taken_up_again(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(image="scene-14")
    job = services.study(hs.load("demo/supervised"), hs.sample_images()["scene-14"].read(), None)
    assert job is not None
    page.session_state["cancelled"] = {job.key}
    page.run()
    assert {metric["group"] for metric in sent(page)["metrics"]} == {"Attention"}
    assert not sent(page)["measured"]
    assert "cancelled" in " ".join(caption.value for caption in page.caption)
    page.button(key="resume").click().run()
    assert sent(rest(page))["measured"]


def test_a_run_that_was_asked_for_before_the_last_change_undoes_nothing(
    open_page: Callable[..., AppTest],
) -> None:
    page = open_page(image="coffee", layer="2", head="1")
    assert (sent(page)["selection"]["layer"], sent(page)["selection"]["head"]) == (2, 1)
    # The browser asked before it heard of the head: its address lacks it.
    page.query_params.clear()
    page.query_params["image"] = "coffee"
    page.run()
    assert (sent(page)["selection"]["layer"], sent(page)["selection"]["head"]) == (2, 1)
