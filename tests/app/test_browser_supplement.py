"""A study as one HTML file, opened in a real browser from a file and without a network."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from playwright.sync_api import Browser, Page, expect

import headscope as hs
from headscope.app import linked
from headscope.app.figures.atlas import head_metrics
from headscope.app.figures.encode import mean_over_images
from headscope.app.supplement import document, supplement
from headscope.app.views import board as views

from .browsing import (
    MAP,
    MONTAGE,
    cell,
    click_patch,
    complete,
    luminance,
    pixels,
    profile_bars,
    select,
    text,
)
from .supplements import EVIL, METRICS, PANEL, VIEW, evil, scenes

pytestmark = pytest.mark.browser
Opened = Callable[..., Page]


@pytest.fixture
def open_file(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Opens files, offline; nothing may be asked for but the file, and no console has an error."""
    wrong: list[str] = []
    contexts: list[Any] = []

    def opened(file: bytes, address: str = "", *, dark: bool = False) -> Page:
        path = tmp_path / "study.html"
        path.write_bytes(file)
        context = browser.new_context(
            viewport={"width": 1280, "height": 800},
            color_scheme="dark" if dark else "light",
            offline=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        here = path.as_uri()
        page.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda r: wrong.append(r.url) if r.url.partition("#")[0] != here else None,
        )
        page.goto(here + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def study(demo: hs.Checkpoint) -> hs.Study:
    return scenes(demo)


@pytest.fixture(scope="module")
def file(study: hs.Study, demo: hs.Checkpoint) -> bytes:
    """Of five scenes, with the maps of the first, the third and the last."""
    return supplement(study, demo, images=3)


def metric_in(study: hs.Study, key: str) -> np.ndarray:
    return next(each for each in head_metrics(study.head_metrics()) if each.key == key).values


def told_value(page: Page, key: str) -> float:
    """A number of the head card."""
    shown = page.locator(f'[data-metric="{key}"] .hs-value').inner_text()
    return 0.0 if shown == "≈ 0" else float(shown.replace("−", "-"))


def test_a_click_redraws_all_plots(file: bytes, study: hs.Study, open_file: Opened) -> None:
    page = open_file(file)
    complete(page, "scene-0.png")
    assert page.title() == "demo/supervised · headscope"
    expect(text(page, "extent")).to_have_text("5 images · 24 heads in 6 layers · maps of 3 images")
    profile_bars(page)
    cell(page, 0, 0).click()
    before = (pixels(page, MAP), pixels(page, MONTAGE), profile_bars(page))
    cell(page, 5, 3).click()
    expect(text(page, "head")).to_have_text("Layer 5, head 3")
    expect(cell(page, 5, 3)).to_have_attribute("aria-selected", "true")
    after = (pixels(page, MAP), pixels(page, MONTAGE), profile_bars(page))
    assert all(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    values = metric_in(study, "entropy")[0]
    assert told_value(page, "entropy") == pytest.approx(values[5, 3], rel=0.01)
    expect(page).to_have_url(re.compile("#layer=5&head=3"))


def test_pixels_are_those_of_the_image(file: bytes, study: hs.Study, open_file: Opened) -> None:
    page = open_file(file)
    complete(page)
    page.get_by_label("Opacity of the map, per cent").fill("0")
    shown = pixels(page, MAP)
    crop = study.data["pixels"][0].values.astype(int)
    rows, columns = (
        ((np.arange(n) + 0.5) * n_crop / n).astype(int)
        for n, n_crop in zip(shown.shape[:2], crop.shape[:2], strict=True)
    )
    same = (shown == crop[rows][:, columns]).all(-1)
    # All but the frame around the query, which is none for the class token.
    assert same.mean() > 0.97


def test_another_image(file: bytes, study: hs.Study, open_file: Opened) -> None:
    page = open_file(file, "#layer=4&head=2&metric=entropy")
    complete(page, "scene-0.png")
    first = pixels(page, MAP)
    page.locator(".hs-gallery button").nth(2).click()
    complete(page, "scene-2.png")
    assert not np.array_equal(pixels(page, MAP), first)
    expect(text(page, "head")).to_have_text("Layer 4, head 2")
    expect(page.get_by_label("Image", exact=True)).to_have_value("2")
    assert told_value(page, "entropy") == pytest.approx(
        metric_in(study, "entropy")[2, 4, 2], rel=0.01
    )
    name = study.labels[int(study.data["top_class"].values[2, 0])]
    expect(page.locator(".hs-predictions > *").first).to_contain_text(name)
    page.get_by_label("Image", exact=True).select_option("scene-4.png")
    complete(page, "scene-4.png")
    page.keyboard.press("Tab")
    page.keyboard.press("[")
    complete(page, "scene-3.png")
    page.keyboard.press("]")
    complete(page, "scene-4.png")
    page.locator(".hs-gallery button").nth(4).focus()
    page.keyboard.press("ArrowLeft")
    complete(page, "scene-3.png")
    expect(page.locator(".hs-gallery button").nth(3)).to_be_focused()


def test_what_is_known_of_an_image(file: bytes, study: hs.Study, open_file: Opened) -> None:
    page = open_file(file)
    complete(page)
    label = study.labels[int(study.data["label"].values[0])]
    right = int(study.data["top_class"].values[0, 0]) == int(study.data["label"].values[0])
    words = f"label: {label}, predicted{'' if right else ' otherwise'}"
    expect(text(page, "image")).to_have_text(
        f"scene-0.png · 96 × 96 px as the model sees it · {words}"
    )
    page.get_by_label("Image", exact=True).select_option("scene-4.png")
    complete(page, "scene-4.png")
    expect(text(page, "image")).not_to_contain_text("label")
    page.get_by_text("About this study").click()
    expect(page.locator(".hs-details dl").first).to_contain_text(study.model_digest)
    page.get_by_text("How this was made").click()
    expect(page.locator(".hs-details pre")).to_contain_text(
        "headscope analyze IMAGES --model demo/"
    )


def test_an_image_without_maps_says_so(file: bytes, open_file: Opened) -> None:
    page = open_file(file)
    complete(page, "scene-0.png")
    expect(text(page, "maps")).to_be_empty()
    page.locator(".hs-gallery button").nth(1).click()
    complete(page, "scene-1.png")
    expect(text(page, "maps")).to_contain_text("has those of 3 of 5 images")
    expect(text(page, "readout")).to_contain_text("are not in this file")
    expect(text(page, "range")).to_have_text("–")
    bare = pixels(page, MAP)
    page.get_by_label("Opacity of the map, per cent").fill("0")
    np.testing.assert_array_equal(pixels(page, MAP), bare)  # the picture, and nothing over it
    assert profile_bars(page)


def test_metric_and_mean(file: bytes, study: hs.Study, open_file: Opened) -> None:
    page = open_file(file, "#layer=3&head=1")
    complete(page)
    select(page, "metric").select_option("distance")
    values = metric_in(study, "distance")
    expect(cell(page, 3, 1)).to_have_attribute("aria-label", re.compile(r"px$"))
    assert told_value(page, "distance") == pytest.approx(values[0, 3, 1], rel=0.01)
    mean_of = page.get_by_role("button", name="Mean of 5", exact=True)
    mean_of.click()
    expect(mean_of).to_have_attribute("aria-pressed", "true")
    assert told_value(page, "distance") == pytest.approx(mean_over_images(values)[3, 1], rel=0.01)
    expect(page).to_have_url(re.compile("metric=distance&scope=mean"))


def test_mean_of_some_images(file: bytes, study: hs.Study, open_file: Opened) -> None:
    values = metric_in(study, "distance")
    some, whole = mean_over_images(values[[1, 2, 4]]), mean_over_images(values)
    layer, head = np.unravel_index(np.abs(some / whole - 1).argmax(), whole.shape)
    assert some[layer, head] != pytest.approx(whole[layer, head], rel=0.02)  # else all look alike
    page = open_file(file, f"#layer={layer}&head={head}&scope=mean&images=1-2,4")
    complete(page)
    # Shown to a hundredth of the range over heads, or better.
    assert told_value(page, "distance") == pytest.approx(some[layer, head], rel=0.01)
    page.keyboard.press("]")
    complete(page, "scene-1.png")
    assert told_value(page, "distance") == pytest.approx(some[layer, head], rel=0.01)


def test_a_link_opens_the_same_view(file: bytes, open_file: Opened) -> None:
    page = open_file(file)
    complete(page)
    page.locator(".hs-gallery button").nth(2).click()
    complete(page, "scene-2.png")
    cell(page, 2, 1).click()
    cell(page, 3, 3).click(modifiers=["Shift"])
    click_patch(page, 4, 7)
    select(page, "metric").select_option("entropy")
    expect(page).to_have_url(
        re.compile(r"#image=scene-2\.png&layer=2&head=1&token=56&metric=entropy&marked=3\.3$")
    )
    seen = pixels(page, MAP), pixels(page, MONTAGE)
    again = open_file(file, "#" + page.url.partition("#")[2])
    complete(again, "scene-2.png")
    expect(text(again, "query")).to_have_text("Query patch 4, 7 attends to")
    expect(cell(again, 3, 3)).to_have_class(re.compile("hs-marked"))
    again.mouse.move(5, 5)
    for canvas, before in zip((MAP, MONTAGE), seen, strict=True):
        np.testing.assert_array_equal(pixels(again, canvas), before)


def test_back_and_forward(file: bytes, open_file: Opened) -> None:
    page = open_file(file)
    complete(page, "scene-0.png")
    cell(page, 1, 1).click()
    expect(page).to_have_url(re.compile("layer=1&head=1"))
    page.get_by_label("Image", exact=True).select_option("scene-2.png")
    complete(page, "scene-2.png")
    cell(page, 4, 0).click()
    expect(page).to_have_url(re.compile("layer=4&head=0"))
    page.go_back()
    expect(text(page, "head")).to_have_text("Layer 1, head 1")
    complete(page, "scene-2.png")
    page.go_back()
    complete(page, "scene-0.png")
    page.go_forward()
    page.go_forward()
    complete(page, "scene-2.png")
    expect(text(page, "head")).to_have_text("Layer 4, head 0")


def test_a_malformed_link_is_told(file: bytes, open_file: Opened) -> None:
    page = open_file(file, "#image=none.png&layer=77&head=0&scope=all&images=3-99&marked=0.1")
    complete(page, "scene-0.png")
    notes = text(page, "notes")
    for words in ("no image “none.png”", "layer, “77”", "scope, “all”", "images, “3-99”"):
        expect(notes).to_contain_text(words)
    expect(cell(page, 0, 1)).to_have_class(re.compile("hs-marked"))
    cell(page, 1, 0).click()
    expect(notes).to_be_empty()


def test_heads_are_not_switched_off_in_a_file(file: bytes, open_file: Opened) -> None:
    page = open_file(file)
    complete(page)
    cell(page, 1, 0).click(modifiers=["Alt"])
    expect(text(page, "notes")).to_contain_text("a file cannot run the model")
    expect(cell(page, 1, 0)).not_to_have_class(re.compile("hs-off"))
    assert "off=" not in page.url


def test_light_and_dark(file: bytes, open_file: Opened) -> None:
    light, dark = open_file(file), open_file(file, dark=True)
    complete(light)
    complete(dark)
    assert luminance(light, "body", "backgroundColor") > 0.9
    assert luminance(dark, "body", "backgroundColor") < 0.05
    assert luminance(dark, ".hs-aside h1", "color") > 0.7
    # The canvas knows nothing of style sheets: its ink has to follow, too.
    drawn = pixels(light, MONTAGE)
    light.get_by_role("button", name="Dark").click()
    assert luminance(light, "body", "backgroundColor") < 0.05
    assert not np.array_equal(pixels(light, MONTAGE), drawn)
    light.get_by_role("button", name="Auto").click()
    np.testing.assert_array_equal(pixels(light, MONTAGE), drawn)
    light.emulate_media(color_scheme="dark")
    expect(light.locator("body")).to_have_css("background-color", "rgb(18, 22, 27)")


def test_the_choice_of_colours_is_kept(file: bytes, open_file: Opened) -> None:
    page = open_file(file)
    complete(page)
    page.get_by_role("button", name="Dark").click()
    page.reload()
    complete(page)
    assert luminance(page, "body", "backgroundColor") < 0.05


def test_words_of_a_study_do_not_run(
    known: hs.Checkpoint, known_crops: np.ndarray, open_file: Opened
) -> None:
    checkpoint, study = evil(known, known_crops)
    page = open_file(supplement(study, checkpoint, title=EVIL))
    complete(page, f"0{EVIL}.png")
    expect(page.locator("h1")).to_have_text(EVIL)
    assert page.evaluate("window.evil") is None
    page.locator(".hs-gallery button").nth(1).click()
    complete(page, f"1{EVIL}.png")
    again = open_file(supplement(study, checkpoint), "#" + page.url.partition("#")[2])
    complete(again, f"1{EVIL}.png")
    expect(again.locator(".hs-predictions")).to_contain_text("</script>")
    assert again.evaluate("window.evil") is None


@pytest.fixture(scope="module")
def windows() -> bytes:
    """A hierarchical model with windows and other numbers of heads in each stage, on two images."""
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    images = [hs.sample_images()[name].read() for name in ("astronaut", "chelsea")]
    return supplement(hs.analyze(swin, images, importance=False, metrics=METRICS[1:]), swin)


def test_windows_and_layers_of_other_heads(windows: bytes, open_file: Opened) -> None:
    page = open_file(windows)
    complete(page, "astronaut")
    expect(page.locator(".hs-cell")).to_have_count(2 * 3 + 2 * 6 + 6 * 12 + 2 * 24)
    cell(page, 0, 2).click()
    expect(text(page, "attention")).to_contain_text("28×28 tokens")
    click_patch(page, 3, 3, grid=28)
    early = pixels(page, MAP)
    cell(page, 11, 23).click()
    expect(text(page, "head")).to_have_text("Layer 11, head 23")
    expect(text(page, "attention")).to_contain_text("4×4 tokens")
    assert not np.array_equal(pixels(page, MAP), early)
    page.keyboard.press("]")
    complete(page, "chelsea")
    assert page.locator(".hs-root").get_attribute("data-layer") == "11"


def test_a_study_without_classes(open_file: Opened) -> None:
    checkpoint = hs.wrap(
        timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=48), image_size=48
    )
    assert not checkpoint.has_classes
    image = hs.sample_images()["scene-8"].read()
    page = open_file(supplement(hs.analyze(checkpoint, image, metrics=["entropy"]), checkpoint))
    complete(page, "scene-8")
    expect(text(page, "target")).to_contain_text("no classes")
    expect(text(page, "extent")).to_contain_text("1 image ·")
    expect(page.get_by_label("Image", exact=True)).to_be_hidden()  # there is no other
    expect(text(page, "profile")).to_be_visible()
    cell(page, 0, 0).click()
    expect(page).to_have_url(re.compile("#layer=0&head=0"))


def test_panels_of_the_board(
    study: hs.Study, open_file: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a panel draws of the study and of each image; what it asks of a server is refused."""
    views_folder = tmp_path / "views"
    views_folder.mkdir()
    (views_folder / "counting.py").write_text(VIEW)
    (views_folder / "absent.py").write_text("def part(subject):\n    return {}")
    (tmp_path / "counting.js").write_text(PANEL)
    *scripts, entry = linked._SCRIPTS["linked"]
    files = {"linked": (*scripts, str(tmp_path / "counting.js"), entry)}
    monkeypatch.setattr(linked, "_SCRIPTS", {**linked._SCRIPTS, **files})
    monkeypatch.setattr(views, "__path__", [str(views_folder)])
    document._script.cache_clear()
    try:
        page = open_file(supplement(study))
    finally:
        document._script.cache_clear()
    complete(page, "scene-0.png")
    expect(text(page, "number")).to_have_text("0 of 5")
    page.keyboard.press("]")
    expect(text(page, "number")).to_have_text("1 of 5")
    page.locator('[data-action="ask"]').click()
    expect(text(page, "notes")).to_contain_text("it is not in this file")
    expect(page.locator('[data-action="ask"]')).to_have_text("ask")
    expect(page.locator(".hs-asks:visible")).to_have_count(0)
    expect(page.locator('[data-panel="absent"]')).to_be_hidden()
    page.get_by_text("How this was made").click()
    expect(text(page, "absent")).to_contain_text("not in this file: Of a server.")


def test_a_file_that_was_cut(file: bytes, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "cut.html"
    cut = re.sub(rb'(id="study">[^<]{100})[^<]*', rb"\1", file)
    path.write_bytes(cut)
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.locator("#hs-opening")).to_contain_text("cannot be read to its end")
    context.close()
