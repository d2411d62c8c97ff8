"""The page in a real Chromium: uploads, bad input, waiting, themes, studies."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import headscope as hs
from headscope.app import running

from .browsing import (
    MAP,
    MONTAGE,
    SCENE,
    address_has,
    cell,
    complete,
    luminance,
    photograph,
    pixels,
    profile_bars,
    select,
    text,
    upload,
)

pytestmark = pytest.mark.browser


def test_an_uploaded_photograph_is_looked_at(page: Page, server: str) -> None:
    page.goto(server)
    complete(page)
    before = page.locator(".hs-predictions").inner_text()
    upload(page, "my holiday.png", photograph("coffee"))
    complete(page, "my holiday.png")
    expect(page.get_by_text("my holiday.png").first).to_be_visible()
    expect(page.locator(".hs-predictions")).not_to_have_text(before)
    shares = page.locator(".hs-predictions .hs-value").all_inner_texts()
    assert len(shares) == 5
    expect(page).to_have_url(re.compile("image=upload%3A[0-9a-f]{64}"))


def test_the_page_lives_while_heads_are_measured_and_cancel_stops_it(
    page: Page, server: str
) -> None:
    page.goto(f"{server}/?checkpoint=vit_small_patch16_224&weights=random&image=coffee")
    expect(page.locator(".hs-predictions > *")).to_have_count(5)
    page.get_by_role("button", name="Cancel").wait_for()
    cell(page, 11, 5).click()
    expect(text(page, "range")).to_contain_text("%")
    expect(page.locator(".hs-root")).to_have_attribute("data-state", "waiting")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("The measurement was cancelled.")).to_be_visible()
    expect(text(page, "head")).to_have_text("Layer 11, head 5")
    expect(text(page, "numbers")).to_contain_text("Entropy of attention")
    expect(text(page, "numbers")).not_to_contain_text("Drop of")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("notes.png", b"these are words", "notes.png"),
        ("half.png", photograph("coffee")[:5000], "half.png"),
    ],
    ids=["no image", "truncated"],
)
def test_a_bad_upload_gets_a_sentence(
    page: Page, server: str, name: str, data: bytes, said: str
) -> None:
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    upload(page, name, data)
    alert = page.locator('[data-testid="stSidebar"] [data-testid="stAlert"]')
    expect(alert).to_contain_text(said)
    assert "Traceback" not in page.locator("body").inner_text()
    cell(page, 5, 3).click()
    expect(text(page, "head")).to_have_text("Layer 5, head 3")
    upload(page, "good.png", photograph("camera"))
    complete(page, "good.png")


def test_an_unknown_checkpoint_gets_a_sentence(page: Page, server: str) -> None:
    page.goto(f"{server}/?checkpoint=vit_bas_patch16&image={SCENE}")
    expect(page.locator('[data-testid="stAlert"]')).to_contain_text("vit_base_patch16")
    box = page.get_by_label("Checkpoint", exact=True)
    box.fill("demo/supervised")
    box.press("Enter")
    complete(page, SCENE)
    expect(page).to_have_url(address_has(checkpoint="demo%2Fsupervised"))


def test_a_link_that_asks_for_too_much_gets_sentences(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=9&head=1&token=x&target=99")
    complete(page, SCENE)
    alert = page.locator('[data-testid="stMain"] [data-testid="stAlert"]')
    for part in ("no layer 9", "token, 'x'", "no class 99"):
        expect(alert).to_contain_text(part)
    cell(page, 2, 2).click()
    expect(page).to_have_url(address_has(layer=2, head=2))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(new_page: Callable[..., Page], server: str, *, dark: bool) -> None:
    page = new_page(dark=dark)
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    paper = luminance(page, ".stApp", "backgroundColor")
    assert (paper < 0.05) == dark
    for selector in (".hs-panel h2", ".hs-rank", ".hs-about", ".hs-number .hs-unit", ".hs-tick"):
        ink = luminance(page, selector, "color")
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast >= 4.5, selector  # WCAG 2.1, level AA
    corner = pixels(page, MONTAGE)[0, 0]
    assert corner.sum() < 30 * 3 or not dark


def test_a_laptop_shows_the_essentials_without_scrolling(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    profile_bars(page)
    for selector in (".hs-atlas", MAP, MONTAGE, '[data-plot="profile"]', ".hs-predictions"):
        box = page.locator(selector).bounding_box()
        assert box is not None, selector
        assert box["y"] >= 0, selector
        assert box["y"] + box["height"] <= 800, selector
        assert box["x"] + box["width"] <= 1280, selector


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "two.zarr"
    samples = hs.sample_images()
    photographs = [samples[name].read() for name in (SCENE, "coffee")]
    hs.analyze(hs.load("demo/supervised"), photographs, out=path)
    return path


@pytest.fixture(scope="module")
def study_server(study: Path, chrome: str) -> Iterator[str]:
    """A server for which every study's maps are too many to be sent at once."""
    none_fits = "from headscope.app.figures import maps; maps.MOST_BYTES = 0"
    with running.serving("--study", str(study), prepare=none_fits) as address:
        yield address


def test_a_study_opens_with_its_own_numbers(page: Page, study: Path, study_server: str) -> None:
    page.goto(study_server)
    complete(page, SCENE)
    data = hs.open_study(study).data
    distance = data["distance"].values
    select(page, "metric").select_option("distance")
    shown = float(cell(page, 2, 1).inner_text())
    assert shown == pytest.approx(float(distance[0, 2, 1]), abs=0.06)
    page.locator('[data-choice="mean"]', has_text="Mean of 2").click()
    expect(page).to_have_url(address_has(scope="mean", metric="distance", study="two.zarr"))
    shown = float(cell(page, 2, 1).inner_text())
    assert shown == pytest.approx(float(distance[:, 2, 1].mean()), abs=0.06)
    page.locator('.hs-gallery [data-key="coffee"]').click()
    complete(page, "coffee")
    page.locator('[data-choice="image"]').click()
    shown = float(cell(page, 2, 1).inner_text())
    assert shown == pytest.approx(float(distance[1, 2, 1]), abs=0.06)


def test_maps_that_are_too_many_to_send_come_when_they_are_asked_for(
    page: Page, study_server: str
) -> None:
    page.goto(f"{study_server}/?image={SCENE}&layer=4&head=0")
    complete(page, SCENE)
    checkpoint, token = hs.load("demo/supervised"), 1 + 3 * 12 + 10
    crop = checkpoint.crop(hs.sample_images()[SCENE].read())
    maps = hs.attention_maps(checkpoint, crop, [(4, 0), (2, 3)])
    for layer, head, query in [(4, 0, 0), (2, 3, token)]:
        cell(page, layer, head).click()
        select(page, "token").select_option(str(query))
        row = maps.layers[layer].dense(head)[query, 1:]
        expect(text(page, "range")).to_have_text(f"{100 * row.max():.3g} %")
    assert len(np.unique(pixels(page, MONTAGE).reshape(-1, 3), axis=0)) > 50
