"""Heads switched off by clicks, and head sets, in a real Chromium."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.app import running
from headscope.app.head_sets import HOME
from headscope.models.demo import scenes

from .browsing import MONTAGE, address_has, cell, complete, luminance, pixels, unfold

pytestmark = pytest.mark.browser
N_SCENES = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def on_study(chrome: str, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on a study of six scenes, which keeps head sets of its own."""
    del chrome
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(N_SCENES)]
    metrics = ["probability_drop", "entropy", "distance"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, HOME, str(home))
        with running.serving("--study", str(path)) as address:
            yield address


@pytest.fixture
def opened(new_page: Callable[..., Page], on_study: str) -> Callable[..., Page]:
    def go(query: str = "layer=4&head=0", *, dark: bool = False) -> Page:
        page = new_page(dark=dark)
        page.set_default_timeout(180_000)
        page.goto(f"{on_study}/?{query}")
        complete(page)
        return page

    return go


def result(page: Page, off: str) -> Locator:
    """The result for these heads, once it is there."""
    found = page.locator(f'.hs-whatif[data-state="ready"][data-off="{off}"]').first
    expect(found).to_be_visible()
    return found


def clicks(page: Page, mode: str) -> None:
    button = page.locator(f'[data-switch="clicks"] [data-choice="{mode}"]')
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")


def depth(page: Page, key: str) -> Locator:
    return page.locator(f".st-key-{key}")


def test_a_click_switches_off_and_the_part_opens(opened: Callable[..., Page]) -> None:
    page = opened()
    before = pixels(page, MONTAGE)
    top = page.evaluate("window.scrollY")
    clicks(page, "off")
    cell(page, 3, 1).click()
    expect(cell(page, 3, 1)).to_have_class("hs-cell hs-off")
    assert np.abs(pixels(page, MONTAGE) - before).max() > 50, "the map is struck through"
    found = result(page, "3.1")
    expect(found.locator("table tbody tr").first).to_be_visible()
    expect(page).to_have_url(address_has(off="3.1", part="What+if", layer=4))
    assert page.evaluate("window.scrollY") == top, "the page stays where it is"
    cell(page, 3, 1).click()
    expect(cell(page, 3, 1)).to_have_class("hs-cell")
    expect(page.get_by_text("No head is off.")).to_be_visible()


def test_alt_click_keys_and_the_way_back(opened: Callable[..., Page]) -> None:
    page = opened("layer=4&head=0&part=What+if")
    cell(page, 4, 0).click(modifiers=["Alt"])
    said = result(page, "4.0").locator('[data-text="what-if-change"]').inner_text()
    cell(page, 4, 2).focus()
    page.keyboard.press("x")
    expect(page.locator(".hs-atlas-all-on")).to_have_text("2 off ×")
    expect(result(page, "4.0,4.2").locator('[data-text="what-if-change"]')).not_to_have_text(said)
    page.keyboard.press("m")
    expect(cell(page, 4, 2)).to_have_attribute("aria-label", _says(", marked, switched off"))
    page.locator('[data-action="all-on"]').click()
    expect(page.get_by_text("No head is off.")).to_be_visible()
    expect(page.locator(".hs-off")).to_have_count(0)
    page.go_back()
    expect(page.locator(".hs-off")).to_have_count(2)


def _says(ending: str) -> re.Pattern[str]:
    return re.compile(re.escape(ending) + "$")


def test_the_montage_and_the_set_take_clicks(opened: Callable[..., Page]) -> None:
    page = opened()
    clicks(page, "mark")
    cell(page, 2, 1).click()
    cell(page, 2, 2).click()
    expect(page.locator(".hs-marked")).to_have_count(2)
    expect(page.get_by_text("2 heads: layer 2: 1, 2.")).to_be_visible()
    clicks(page, "off")
    page.locator(MONTAGE).click(position={"x": 40, "y": 10})
    expect(cell(page, 0, 0)).to_have_class("hs-cell hs-off")
    clicks(page, "choose")
    cell(page, 5, 1).click()
    expect(page).to_have_url(address_has(layer=5, head=1, marked="2.1%2C2.2", off="0.0"))


@pytest.mark.parametrize("dark", [False, True])
def test_off_cells_read_in_both_themes(opened: Callable[..., Page], *, dark: bool) -> None:
    page = opened("off=4.2,0.1", dark=dark)
    for at in ((4, 2), (0, 1)):
        name = f'.hs-cell[data-layer="{at[0]}"][data-head="{at[1]}"]'
        ink = luminance(page, name, "color")
        ground = luminance(page, ".stApp", "backgroundColor")
        light, low = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (low + 0.05) > 7, "WCAG AAA on the page's ground"


def test_the_buttons_of_what_if(opened: Callable[..., Page]) -> None:
    page = opened("layer=4&head=2&part=What+if&marked=5.0,5.1")
    page.get_by_role("button", name="Switch off the chosen head").click()
    result(page, "4.2")
    page.get_by_role("button", name="Keep only the chosen head in its layer").click()
    result(page, "4.0,4.1,4.3")
    page.get_by_role("button", name="Switch off the head set").click()
    result(page, "5.0,5.1")
    page.get_by_role("button", name="Mask its sinks").click()
    result(page, "4.2")
    expect(page).to_have_url(address_has(how="sinks%3Amasked", off="4.2"))
    page.get_by_role("button", name="Bring all back", exact=True).click()
    expect(page.get_by_text("No head is off.")).to_be_visible()


def test_maps_are_drawn_and_choose_their_head(opened: Callable[..., Page]) -> None:
    page = opened("layer=4&head=0&part=What+if&off=2.0,3.1")
    found = result(page, "2.0,3.1")
    sources = [
        found.locator(f'[data-block="head"] [data-map="{name}"]').get_attribute("src")
        for name in ("before", "after", "difference")
    ]
    assert len(set(sources)) == 3
    first = found.locator("[data-changed]").first
    layer, head = (first.get_attribute("data-changed") or "").split(".")
    first.click()
    expect(cell(page, int(layer), int(head))).to_have_attribute("aria-selected", "true")
    expect(page.locator('[data-block="head"] h3')).to_contain_text(f"Layer {layer}, head {head}")
    expect(page.locator('[data-block="explanation"] img')).to_have_count(6)
    page.get_by_text("page's query").click()
    expect(page.locator('[data-block="head"] h3')).to_contain_text("query")
    after = page.locator('[data-block="explanation"] [data-map="after"]')
    before = after.get_attribute("src") or ""
    unfold(page.get_by_role("combobox", name="What takes their place"))
    page.get_by_role("option", name="their mean output").click()
    expect(page.get_by_text("what they give over 6 images")).to_be_visible()
    expect(after).not_to_have_attribute("src", before)
    expect(page).to_have_url(address_has(how="mean"))


def test_quick_clicks_end_with_the_last(opened: Callable[..., Page]) -> None:
    page = opened("layer=4&head=0&part=What+if")
    heads = [(layer, head) for layer in range(5) for head in (0, 2)]
    for layer, head in heads:
        cell(page, layer, head).click(modifiers=["Alt"], no_wait_after=True)
    off = ",".join(f"{layer}.{head}" for layer, head in heads)
    result(page, off)
    expect(page.get_by_text("10 heads off")).to_be_visible()


def test_a_search_marks_and_a_set_is_kept(
    opened: Callable[..., Page], home: Path, tmp_path: Path
) -> None:
    page = opened()
    query = page.get_by_label("Search heads")
    query.fill("entropi < 1")
    query.press("Enter")
    expect(page.get_by_text("did you mean entropy")).to_be_visible()
    query.fill("layer == 4 and head < 2")
    query.press("Enter")
    expect(page.get_by_text("2 heads found.")).to_be_visible()
    expect(page.locator(".hs-marked")).to_have_count(2)
    unfold(page.get_by_role("button", name="Saved sets"))
    page.get_by_label("Save the 2 marked heads as").fill("left ones")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved: left ones.")).to_be_visible()
    assert len(list((home / "head-sets").rglob("*.json"))) == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "set.json")
    kept = hs.HeadSet.load(tmp_path / "set.json")
    assert kept.heads == ((4, 0), (4, 1))
    assert json.loads((tmp_path / "set.json").read_text(encoding="utf-8"))["n_heads"] == [4] * 6
    page.keyboard.press("Escape")
    depth(page, "unmark").get_by_role("button").click()
    expect(page.locator(".hs-marked")).to_have_count(0)
    unfold(page.get_by_role("button", name="Saved sets"))
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".hs-marked")).to_have_count(2)
    page.get_by_label("New name").fill("right ones")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.get_by_text("Renamed: right ones.")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("There are no sets of these heads yet")).to_be_visible()
    assert not list((home / "head-sets").rglob("*.json"))


def test_the_effect_of_a_set_and_the_way_to_what_if(opened: Callable[..., Page]) -> None:
    page = opened("layer=4&head=0&marked=4.0,4.2")
    page.get_by_text("Effect").click()
    table = page.locator('[data-text="head-set-effect"]')
    expect(table).to_contain_text("The set as one")
    expect(table).to_contain_text("Sum of its heads one by one")
    page.get_by_role("button", name="What if", exact=False).first.click()
    result(page, "4.0,4.2")
    page.get_by_role("button", name="Accuracy and mean probability over 6 images").click()
    expect(page.locator('[data-text="what-if-images"]')).to_contain_text("Mean probability")
