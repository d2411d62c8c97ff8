"""What may go wrong around a page, without a browser: a sentence, and the rest of it goes on."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app import services, studies
from headscope.app.selection import Selection
from headscope.app.serve import STUDIES
from headscope.app.views.depth import panel

from .test_page import open_page, rest, sent, words  # noqa: F401

SAMPLE = studies.samples()["sample/supervised"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A copy of a sample, as a folder."""
    path = tmp_path / "mine.zarr"
    hs.open_study(SAMPLE).save(path)
    return path


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_study_that_vanishes_while_it_is_open_goes_on(
    open_page: Callable[..., AppTest],  # noqa: F811
    study: Path,
    damage: str,
) -> None:
    page = open_page(study=study, image="scene-8")
    assert sent(page)["image"] == "scene-8"
    if damage == "gone":
        shutil.rmtree(study)
    else:
        (study / "zarr.json").write_text("{}")
    page.query_params["image"] = "scene-9"
    page.selectbox(key="image").select("scene-9").run()
    rest(page)
    assert "still shown" in words(page)
    assert "mine.zarr" in words(page)
    assert sent(page)["image"] == "scene-9"
    assert sent(page)["metrics"]
    hs.open_study(SAMPLE).save(study.with_name("back.zarr"))
    shutil.rmtree(study, ignore_errors=True)
    study.with_name("back.zarr").rename(study)
    assert words(rest(page.run())) == ""


def test_samples_are_offered_by_what_they_are(
    open_page: Callable[..., AppTest],  # noqa: F811
) -> None:
    page = open_page()
    box = page.selectbox(key="checkpoint")
    assert "Sample study: demo/supervised, 60 scenes" in box.options
    box.set_value("study sample/supervised").run()
    assert sent(rest(page))["n_images"] == 60
    assert words(page) == ""


def test_a_checkpoint_file_that_vanishes_stays_as_loaded(
    open_page: Callable[..., AppTest],  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.safetensors"
    source = Path(hs.__file__).parent / "assets" / "demo" / "supervised.safetensors"
    shutil.copy(source, file)
    page = open_page(checkpoint=str(file), image="scene-8")
    before = sent(page)["feed"]
    assert before, words(page)
    file.unlink()
    rest(page.run())
    assert words(page) == ""
    assert sent(page)["feed"] == before


GARBAGE = (
    "",
    "\x00",
    "🦊" * 400,
    "-1",
    "1e9",
    "9" * 30,
    "..",
    "../../etc/passwd",
    "<b>x</b>",
    "[](#)",
)


@pytest.mark.parametrize("key", Selection.__dataclass_fields__)
def test_garbage_in_an_address_is_a_sentence_or_a_name(key: str) -> None:
    for text in GARBAGE:
        chosen, notes = Selection.from_query({key: text})
        value = getattr(chosen, key)
        assert (value is None) == bool(notes) or key in ("layer", "head")
        if value is not None:
            assert value == text
        fitted, _ = chosen.fit((4,) * 6, (145,) * 6, "demo/supervised")
        assert fitted.layer is None or fitted.layer < 6
        assert isinstance(chosen.marked_heads, tuple)
        assert isinstance(chosen.chosen_images, tuple)


@pytest.mark.parametrize("text", ["🦊", "<script>alert(1)</script>", "999999", "0"])
def test_a_page_stands_whatever_the_address_says(
    open_page: Callable[..., AppTest],  # noqa: F811
    text: str,
) -> None:
    """All keys at once; those that name a checkpoint or a study are left to other tests."""
    keys = [key for key in Selection.__dataclass_fields__ if key not in ("checkpoint", "study")]
    page = open_page(study=SAMPLE, **dict.fromkeys(keys, text))
    assert sent(page)["metrics"]
    assert not page.exception


def _encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _picture(mode: str) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


ANIMATION = [_picture("P"), _picture("P").rotate(90)]
GOOD = {
    "animated.gif": _encoded("GIF", ANIMATION[0], save_all=True, append_images=ANIMATION[1:]),
    "deep.png": _encoded(
        "PNG", Image.fromarray((np.arange(2000).reshape(40, 50) * 32).astype("u2"))
    ),
    "print.jpg": _encoded("JPEG", _picture("CMYK")),
    "clear.png": _encoded("PNG", _picture("RGBA")),
}
BAD = {
    "words.png": b"these are words",
    "empty.png": b"",
    "half.jpg": _encoded("JPEG", _picture("RGB").resize((400, 500)))[:3000],
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_pictures_are_read(name: str) -> None:
    kept = services.keep_upload(GOOD[name], name)
    assert kept.pixels.shape == (40, 50, 3)
    assert kept.pixels.dtype == np.uint8
    assert np.ptp(kept.pixels) > 100, "not black, not white"


@pytest.mark.parametrize("name", BAD)
def test_no_picture_is_a_sentence(name: str) -> None:
    with pytest.raises(hs.HeadscopeError, match=name):
        services.keep_upload(BAD[name], name)


def test_a_picture_of_a_hundred_megapixels_is_refused() -> None:
    with pytest.raises(hs.HeadscopeError, match=r"wall\.png"):
        services.keep_upload(_encoded("PNG", Image.new("1", (10_000, 10_000))), "wall.png")


def test_an_error_that_nobody_foresaw_leaves_the_page_alive(
    open_page: Callable[..., AppTest],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(subject: object) -> None:
        raise ZeroDivisionError("a *part* failed")

    monkeypatch.setitem(panel.PARTS, "Strength", (broken, "fails"))
    page = open_page(study=SAMPLE, part="Strength")
    assert "Strength could not be shown" in words(page)
    assert "Traceback" not in words(page)
    assert sent(page)["metrics"]
    assert "ZeroDivisionError" in caplog.text


def test_an_error_in_the_script_itself_has_a_way_out(
    open_page: Callable[..., AppTest],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(studies, "known", broken)
    page = open_page()
    assert "Something went wrong in headscope itself" in words(page)
    assert "Open the page anew" in " ".join(str(html.proto) for html in page.get("html"))


def test_a_failed_job_that_nobody_foresaw_can_be_tried_again(
    open_page: Callable[..., AppTest],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = services.load_source

    def broken(source: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(services, "load_source", broken)
    page = open_page(checkpoint="demo/registers", image="scene-8")
    assert "out of memory" in words(page)
    monkeypatch.setattr(services, "load_source", load)
    retry = next(button for button in page.button if button.label == "Try again")
    retry.click().run()
    assert sent(rest(page))["feed"]
    assert words(page) == ""


def test_two_clicks_during_a_computation_end_in_the_last(
    open_page: Callable[..., AppTest],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(STUDIES, raising=False)
    page = AppTest.from_file(str(Path(services.__file__).with_name("main.py")), default_timeout=60)
    page.query_params["image"] = "scene-16"
    page.run()
    for name in ("scene-14", "coffee"):  # before the one before has ended
        page.session_state["selection"] = Selection(image=name)
        page.run()
    assert sent(rest(page))["image"] == "coffee"
    assert sent(page)["metrics"]
