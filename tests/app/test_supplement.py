"""A study as one HTML file: what is in it, whatever the study is."""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app import supplement_command
from headscope.app.cli import main
from headscope.app.export.provenance import loaded_with
from headscope.app.figures.packing import pack
from headscope.app.supplement import blocks as packing
from headscope.app.supplement import document, supplement
from headscope.app.supplement.board import parts
from headscope.app.supplement.facts import commands
from headscope.app.supplement.feeds import spread
from headscope.app.views import board as views
from headscope.app.views import heads

from .supplements import EVIL, N_SCENES, blocks, evil, scenes, told


@pytest.fixture(scope="module")
def study(demo: hs.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> hs.Study:
    return scenes(demo).save(tmp_path_factory.mktemp("supplement") / "five.zarr")


@pytest.fixture(scope="module")
def whole(study: hs.Study, demo: hs.Checkpoint) -> bytes:
    return supplement(study, demo)


def patched(base: object, change: object) -> object:
    """A replica of `patched` in 10_blocks.js."""
    if not (isinstance(change, dict) and "$in" in change):
        return change
    copy = list(base) if isinstance(base, list) else dict(base)  # pyright: ignore
    for key, inside in change["$in"].items():
        at = int(key) if isinstance(copy, list) else key
        copy[at] = patched(copy[at], inside)  # pyright: ignore
    return copy


def feed_header(data: bytes) -> dict:
    (length,) = struct.unpack("<I", data[:4])
    return json.loads(data[4 : 4 + length])


def test_same_study_same_bytes(study: hs.Study, demo: hs.Checkpoint, whole: bytes) -> None:
    again = hs.open_study(study.path)
    assert supplement(again, demo) == whole


def test_every_image_is_as_the_page_has_it(study: hs.Study, whole: bytes) -> None:
    page, found = told(whole), blocks(whole)
    for image in range(N_SCENES):
        change = json.loads(found[f"scene-{image}"])
        scene = page["base"] if change is None else patched(page["base"], change)
        drawn = heads.drawn(heads.of_study(study, image))
        assert isinstance(scene, dict)
        assert {key: scene[key] for key in drawn if key != "feed"} == {
            key: value for key, value in json.loads(json.dumps(drawn)).items() if key != "feed"
        }
        probabilities = [row["probability"] for row in scene["predictions"]["rows"]]
        np.testing.assert_array_equal(probabilities, study.data["top_probability"].values[image])
        assert scene["feed"] == feed_header(found[f"feed-{image}"])["id"]


def test_pixels_are_exact(study: hs.Study, whole: bytes) -> None:
    data = blocks(whole)["feed-3"]
    place = feed_header(data)["pixels"]
    start = 4 + struct.unpack("<I", data[:4])[0] + place["offset"]
    pixels = np.frombuffer(data[start : start + place["size"]], np.uint8)
    np.testing.assert_array_equal(pixels, study.data["pixels"][3].values.ravel())


def test_maps_stay_within_the_bound_and_are_spread(study: hs.Study, demo: hs.Checkpoint) -> None:
    one = len(supplement(study, demo, images=1)) - len(supplement(study, demo, images=0))
    # Maps of two images and a half: the feed holds pixels, too, of about a tenth of its size.
    some = supplement(study, demo, maps_mb=2.5 * 1.1 * one / 1e6)
    images = told(some)["images"]
    assert [image["maps"] for image in images] == [True, False, False, False, True]
    assert [bool(feed_header(blocks(some)[f"feed-{i}"])["layers"]) for i in range(5)] == [
        image["maps"] for image in images
    ]
    assert "has those of 2 of 5 images" in told(some)["missing"]
    assert [image["maps"] for image in told(supplement(study, demo, images=3))["images"]] == [
        True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7, 60, 1000])
def test_beginnings_of_the_order_are_spread(n: int) -> None:
    order = spread(n)
    assert sorted(order) == list(range(n))
    for most in range(2, min(n, 40)):
        gaps = np.diff([*sorted(order[:most]), n + order[0]])
        # Of van der Corput's points no gap is more than twice as wide as another, in a power of 2;
        # cutting that off at n leaves at most one more power.
        assert gaps.max() <= 4 * n / most + 1


def test_without_the_checkpoint_numbers_stay(study: hs.Study, whole: bytes) -> None:
    bare = supplement(study)
    assert told(bare)["base"] == told(whole)["base"]
    assert not any(image["maps"] for image in told(bare)["images"])
    assert "without the checkpoint" in told(bare)["missing"]
    assert len(bare) < len(whole)


def test_another_checkpoint_is_refused(study: hs.Study, known: hs.Checkpoint) -> None:
    with pytest.raises(hs.HeadscopeError, match="is not the checkpoint of the study"):
        supplement(study, known)


@pytest.mark.parametrize("options", [{"maps_mb": -1.0}, {"maps_mb": float("nan")}, {"images": -1}])
def test_bounds_that_make_no_sense(study: hs.Study, options: dict) -> None:
    with pytest.raises(hs.HeadscopeError, match="make no sense"):
        supplement(study, **options)


def test_no_word_of_a_study_is_html(known: hs.Checkpoint, known_crops: np.ndarray) -> None:
    checkpoint, study = evil(known, known_crops)
    file = supplement(study, checkpoint, title=EVIL)
    html = file.decode()
    assert "window.evil" not in html.partition("<script type=")[2]
    assert EVIL not in html
    assert "&lt;/script&gt;" in html  # the title
    page = told(file)
    assert (page["title"], page["labels"][0]) == (EVIL, EVIL)
    assert page["images"][1]["name"] == f"1{EVIL}.png"


def test_scripts_end_where_they_should(whole: bytes) -> None:
    html = whole.decode()
    assert html.count("<script") - html.count("<script>") == html.count("</script>")
    assert "unsafe-inline" not in html.partition("script-src")[2].partition(";")[0]
    assert "http://" not in document._style()
    assert "export " not in document._script().replace("export default", "")


@pytest.mark.parametrize(
    ("base", "other", "change"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}, {"$in": {"b": [1, 3]}}),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": None}], {"$in": {"1": {"$in": {"a": None}}}}),
        ({"a": 1}, {"b": 1}, {"b": 1}),
        ([{"a": 1}], [], []),
        ({"a": {}}, {"a": {"b": 1}}, {"$in": {"a": {"b": 1}}}),
    ],
)
def test_differences(base: object, other: object, change: object) -> None:
    assert packing.difference(base, other) == change
    assert patched(base, change) == other
    assert packing.difference(base, base) is packing.SAME


def test_panels_of_the_board(
    study: hs.Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A panel brings what its view says of a study; one that cannot says that it is not there."""
    (tmp_path / "able.py").write_text(
        "def of_study(study):\n"
        "    action = {'label': 'y', 'part': 'Sinks'}\n"
        "    return {'n': study.n_images, 'waiting': 'x', 'action': action}"
    )
    (tmp_path / "unable.py").write_text("def part(subject):\n    return {}")
    monkeypatch.setattr(views, "__path__", [str(tmp_path)])
    (tmp_path / "varied.py").write_text(
        "def of_study(study):\n    return {'n': 0}\n\n"
        "def of_image(study, image):\n    return {'n': image}"
    )
    made = parts(study, lambda *_: None)
    found = {name: packing.opened(text) for name, text in made.items()}
    assert found["part-able"] == pack({"panel": "able", "n": N_SCENES, "waiting": "x"})
    assert b'"absent": true' in found["part-unable"]
    assert found["part-varied"] == pack({"panel": "varied", "n": 0})
    assert found["of-4-varied"] == pack({"n": 4})


def test_the_command_that_makes_the_study_again(study: hs.Study) -> None:
    analysing, writing = commands(study)
    assert analysing == (
        "headscope analyze IMAGES --model demo/supervised --ablations zero,mean --labels LABELS "
        "--out STUDY.zarr"
    )
    assert writing == "headscope supplement STUDY.zarr --out FILE.html"


def test_progress_grows_and_can_stop(study: hs.Study, demo: hs.Checkpoint) -> None:
    seen: list[float] = []
    supplement(study, demo, progress=lambda share, _: seen.append(share))
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert seen[-1] <= 1

    def stop(share: float, text: str) -> None:
        if share > 0.2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supplement(study, demo, progress=stop)


def test_command(
    study: hs.Study, whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "study.html"
    assert main(["supplement", str(study.path), "--out", str(out)]) == 0
    assert out.read_bytes() == whole
    assert f"Saved as {out}" in capsys.readouterr().out
    assert main(["supplement", str(study.path), "--out", str(out), "--no-checkpoint"]) == 0
    assert out.read_bytes() == supplement(study)
    arguments = ["--images", "2", "--title", "S1", "--maps-mb", "3"]
    assert main(["supplement", str(study.path), "--out", str(out), *arguments]) == 0
    assert told(out.read_bytes())["title"] == "S1"
    assert sum(image["maps"] for image in told(out.read_bytes())["images"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["study.html"]  # nothing half written


def test_a_checkpoint_that_is_gone_leaves_the_maps_out(
    known: hs.Checkpoint, known_crops: np.ndarray, tmp_path: Path
) -> None:
    path, out = tmp_path / "known.zarr", tmp_path / "known.html"
    hs.analyze(known, list(known_crops), metrics=["entropy"], importance=False, out=path)
    assert main(["supplement", str(path), "--out", str(out)]) == 0
    page = told(out.read_bytes())
    assert not any(image["maps"] for image in page["images"])
    assert "does not say how known-answer was loaded" in page["missing"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x.txt"], "end it with .html"),
        (["--out", "/nowhere/x.html"], "in a folder that exists"),
        (["--out", "x.html", "--maps-mb", "many"], "is no size"),
        (["--out", "x.html", "--images", "-1"], "no number of images"),
        ([], "--out"),
    ],
)
def test_wrong_usage_gets_a_sentence(
    study: hs.Study, capsys: pytest.CaptureFixture, arguments: list[str], sentence: str
) -> None:
    assert main(["supplement", str(study.path), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_ctrl_c_leaves_no_file(
    study: hs.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headscope.analysis.maps.attention_maps", interrupted)
    out = tmp_path / "study.html"
    assert main(["supplement", str(study.path), "--out", str(out)]) == 130
    assert "was not written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _page() -> None:
    import os

    from headscope import load, open_study
    from headscope.app.views.depth.subject import Subject
    from headscope.app.views.depth.supplement_offer import offer

    path = os.environ.get("STUDY_OF_TEST")
    offer(Subject(load("demo/supervised"), open_study(path)) if path else Subject())


@pytest.fixture
def open_offer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None], AppTest]:
    def opened(path: Path | None) -> AppTest:
        monkeypatch.setenv("STUDY_OF_TEST", "" if path is None else str(path))
        return AppTest.from_function(_page, default_timeout=60).run()

    return opened


def test_the_page_offers_the_file(
    study: hs.Study, whole: bytes, open_offer: Callable[[Path | None], AppTest]
) -> None:
    page = open_offer(study.path)
    assert page.get("download_button") == []
    page.button(key="asked supplement go").click().run()
    deadline = time.monotonic() + 60
    while not page.get("download_button") and time.monotonic() < deadline:
        time.sleep(0.2)
        page.run()
    assert not page.exception
    (button,) = page.get("download_button")
    assert button.proto.label == f"Save the file ({len(whole) / 1e6:.1f} MB)"


def test_the_page_waits_for_the_study(open_offer: Callable[[Path | None], AppTest]) -> None:
    page = open_offer(None)
    assert "once the study is measured" in page.caption[0].value
    assert len(page.button) == 0


def test_the_work_can_be_cancelled(
    study: hs.Study,
    monkeypatch: pytest.MonkeyPatch,
    open_offer: Callable[[Path | None], AppTest],
) -> None:
    def endless(*_: object, progress: Callable[[float, str], None], **__: object) -> bytes:
        while True:
            progress(0.5, "attention maps")
            time.sleep(0.01)

    monkeypatch.setattr("headscope.app.supplement.supplement", endless)
    # Another key than that of the test above, whose result is kept.
    monkeypatch.setattr(hs.Study, "n_done", property(lambda _: 4))
    page = open_offer(study.path)
    page.button(key="asked supplement go").click().run()
    assert page.get("progress")
    page.button(key="asked supplement cancel").click().run()
    assert not page.get("progress")
    assert page.button(key="asked supplement go").label == "Whole study as one HTML file"


def test_no_place_of_this_machine_is_published() -> None:
    """Of a file its name alone; names of checkpoints stay."""

    def published(**how: Any) -> dict[str, Any]:
        made: Any = SimpleNamespace(data=SimpleNamespace(attrs={"loaded_with": json.dumps(how)}))
        return loaded_with(made)

    assert published(name="/home/me/vit.pt") == {"name": "vit.pt"}
    assert published(name=r"C:\models\mine") == {"name": "mine"}
    assert published(name="mine/vit.safetensors") == {"name": "vit.safetensors"}
    assert published(name="demo/supervised", arch=None) == {"name": "demo/supervised", "arch": None}
    assert published(factory="/home/me/own.py:build")["factory"] == "own.py:build"
    assert published(factory="package.module:build")["factory"] == "package.module:build"


def test_what_cannot_be_written_leaves_nothing(
    study: hs.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        supplement_command.write_supplement(study, tmp_path / "x.html", with_maps=False)
    assert not list(tmp_path.iterdir())
