"""The linked plots in a real Chromium: what changes when somebody does something."""

from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import headscope as hs

from .browsing import (
    MAP,
    MONTAGE,
    SCENE,
    address_has,
    cell,
    click_patch,
    complete,
    patch_at,
    photograph,
    pixels,
    profile_bars,
    select,
    text,
    upload,
)

pytestmark = pytest.mark.browser


def test_a_click_on_a_head_redraws_all_that_is_linked(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    cell(page, 1, 1).click()
    expect(text(page, "head")).to_have_text("Layer 1, head 1")
    bars = profile_bars(page)
    seen, numbers = pixels(page, MAP), text(page, "numbers").inner_text()
    cell(page, 4, 2).click()
    expect(text(page, "head")).to_have_text("Layer 4, head 2")
    expect(cell(page, 4, 2)).to_have_attribute("aria-selected", "true")
    expect(cell(page, 1, 1)).to_have_attribute("aria-selected", "false")
    expect(select(page, "layer")).to_have_value("4")
    assert np.abs(pixels(page, MAP) - seen).mean() > 1
    assert text(page, "numbers").inner_text() != numbers
    assert profile_bars(page) != pytest.approx(bars)
    expect(page).to_have_url(address_has(image=SCENE, layer=4, head=2))


def test_a_click_on_a_patch_makes_it_the_query(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=2&head=0")
    complete(page, SCENE)
    expect(text(page, "query")).to_have_text("Query class attends to")
    seen, montage = pixels(page, MAP), pixels(page, MONTAGE)
    click_patch(page, 2, 9)
    expect(text(page, "query")).to_have_text("Query patch 2, 9 attends to")
    page.mouse.move(0, 0)
    assert np.abs(pixels(page, MAP) - seen).mean() > 1
    assert np.abs(pixels(page, MONTAGE) - montage).mean() > 1
    token = 1 + 2 * 12 + 9
    expect(select(page, "token")).to_have_value(str(token))
    expect(page).to_have_url(address_has(token=token))
    page.locator('.hs-chip[data-token="0"]').click()
    expect(text(page, "query")).to_have_text("Query class attends to")
    np.testing.assert_array_equal(pixels(page, MAP), seen)


def test_pointing_at_a_patch_previews_it(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=2&head=0")
    complete(page, SCENE)
    seen = pixels(page, MAP)
    page.locator(MAP).hover(position=patch_at(page, 5, 5))
    expect(text(page, "query")).to_have_text("Query patch 5, 5 attends to")
    expect(text(page, "readout")).to_contain_text("from class")
    assert np.abs(pixels(page, MAP) - seen).mean() > 1
    page.mouse.move(0, 0)
    expect(text(page, "query")).to_have_text("Query class attends to")
    np.testing.assert_array_equal(pixels(page, MAP), seen)


def test_the_map_shows_the_weights(page: Page, server: str) -> None:
    """At full opacity the brightest patch is the one that gets the largest weight."""
    page.goto(f"{server}/?image={SCENE}&layer=4&head=0")
    complete(page, SCENE)
    page.get_by_label("Opacity of the map").fill("100")
    checkpoint = hs.load("demo/supervised")
    crop = checkpoint.crop(hs.sample_images()[SCENE].read())
    weights = hs.attention_maps(checkpoint, crop, [(4, 0)]).layers[4].dense(0)
    to_patches = weights[0, 1:].reshape(12, 12)
    shown = pixels(page, MAP)
    side = shown.shape[0] / 12
    at = ((np.arange(12) + 0.5) * side).astype(int)
    brightness = shown[at][:, at].sum(-1)
    order = np.argsort(to_patches, axis=None)
    assert brightness.flat[order[-1]] == brightness.max()
    assert np.corrcoef(brightness.flat, to_patches.flat)[0, 1] > 0.8
    largest = float(to_patches.max())
    stated = float(text(page, "range").inner_text().removesuffix(" %")) / 100
    assert stated == pytest.approx(largest, rel=0.01)


def test_a_query_keeps_its_place_where_layers_differ(page: Page, server: str) -> None:
    """PVT: 56 × 56 queries at first, 7 × 7 at last, and keys of 7 × 7 throughout."""
    token = 17 * 56 + 40  # its centre, 70 and 162 px, lies in the patch 2, 5 of 32 px
    where = f"checkpoint=pvt_v2_b0&weights=random&image=coffee&layer=0&head=0&token={token}"
    page.goto(f"{server}/?{where}")
    complete(page, "coffee")
    expect(text(page, "query")).to_have_text("Query patch 17, 40 attends to")
    expect(text(page, "attention")).to_have_text("Pooled keys · 56×56 queries → 7×7 keys")
    assert len(profile_bars(page)) == 7
    cell(page, 7, 3).click()
    expect(text(page, "query")).to_have_text("Query patch 2, 5 attends to")
    expect(page).to_have_url(address_has(layer=7, token=2 * 7 + 5))
    cell(page, 1, 0).click()
    expect(text(page, "query")).to_have_text("Query patch 17, 40 attends to")
    expect(page).to_have_url(address_has(layer=1, token=token))
    select(page, "token").select_option("mean over queries")
    expect(text(page, "query")).to_have_text("Mean over queries attends to")
    expect(page).to_have_url(address_has(place="mean"))


def test_keys_move_the_head_and_the_query(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=2&head=1")
    complete(page, SCENE)
    cell(page, 2, 1).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    expect(text(page, "head")).to_have_text("Layer 1, head 2")
    expect(cell(page, 1, 2)).to_be_focused()
    click_patch(page, 0, 3)
    for key in ("ArrowUp", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.mouse.move(0, 0)
    expect(text(page, "query")).to_have_text("Query patch 1, 4 attends to")
    expect(page).to_have_url(address_has(layer=1, head=2, token=1 + 12 + 4))


def test_select_boxes_mirror_the_selection(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=2&head=1&token=0")
    complete(page, SCENE)
    select(page, "layer").select_option("5")
    expect(text(page, "head")).to_have_text("Layer 5, head 1")
    select(page, "head").select_option("3")
    expect(text(page, "head")).to_have_text("Layer 5, head 3")
    select(page, "token").select_option("patch 0, 0")
    expect(text(page, "query")).to_have_text("Query patch 0, 0 attends to")
    box = page.locator(MONTAGE).bounding_box()
    assert box is not None
    page.locator(MONTAGE).click(position={"x": 40, "y": 10})
    expect(text(page, "head")).to_have_text("Layer 0, head 0")


def test_switches_change_what_is_drawn(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=1&head=1")
    complete(page, SCENE)
    legend = page.locator('[data-legend="atlas"]')
    colours, said = cell(page, 1, 1).evaluate("c => c.style.background"), legend.inner_text()
    select(page, "metric").select_option("entropy")
    expect(legend).not_to_have_text(said)
    expect(legend).to_contain_text("nats")
    assert cell(page, 1, 1).evaluate("c => c.style.background") != colours
    expect(page).to_have_url(address_has(metric="entropy"))
    seen, range_said = pixels(page, MAP), text(page, "range").inner_text()
    colours = cell(page, 1, 1).evaluate("c => c.style.background")
    page.locator('[data-choice="rank"]').click()
    assert cell(page, 1, 1).evaluate("c => c.style.background") != colours
    page.locator('[data-choice="shared"]').click()
    expect(text(page, "range")).not_to_have_text(range_said)
    assert np.abs(pixels(page, MAP) - seen).mean() > 1
    bars = profile_bars(page)
    page.locator('[data-switch="profile"] [data-choice="mean"]').click()
    assert profile_bars(page) != pytest.approx(bars)
    page.get_by_label("Opacity of the map").fill("0")
    crop = hs.load("demo/supervised").crop(hs.sample_images()[SCENE].read()).astype(int)
    shown = pixels(page, MAP)
    at = ((np.arange(96) + 0.5) * shown.shape[0] / 96).astype(int)
    assert np.abs(shown[at][:, at] - crop).max() == 0


def test_a_link_reopens_the_view(new_page: Callable[..., Page], server: str) -> None:
    first = new_page()
    first.goto(f"{server}/?image={SCENE}")
    complete(first)
    upload(first, "linked.png", photograph("rocket"))
    complete(first, "linked.png")
    cell(first, 3, 1).click()
    click_patch(first, 6, 7)
    first.mouse.move(0, 0)
    select(first, "metric").select_option("distance")
    token = 1 + 6 * 12 + 7
    expect(first).to_have_url(address_has(layer=3, head=1, token=token, metric="distance"))
    second = new_page()
    second.goto(first.url)
    complete(second, "linked.png")
    expect(text(second, "head")).to_have_text("Layer 3, head 1")
    expect(select(second, "token")).to_have_value(str(token))
    expect(select(second, "metric")).to_have_value("distance")
    np.testing.assert_array_equal(pixels(second, MAP), pixels(first, MAP))


def test_two_sessions_do_not_see_each_other(new_page: Callable[..., Page], server: str) -> None:
    pages = [new_page(), new_page()]
    for page in pages:
        page.goto(f"{server}/?image={SCENE}&layer=0&head=0")
    for page in pages:
        complete(page, SCENE)
    cell(pages[0], 5, 3).click()
    expect(pages[0]).to_have_url(address_has(layer=5, head=3))
    pages[1].locator('.hs-gallery [data-key="coffee"]').click()
    complete(pages[1], "coffee")
    expect(text(pages[1], "head")).to_have_text("Layer 0, head 0")
    expect(pages[0].locator(".hs-root")).to_have_attribute("data-image", SCENE)
    expect(text(pages[0], "head")).to_have_text("Layer 5, head 3")


def test_back_goes_to_the_view_before(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}&layer=0&head=0")
    complete(page, SCENE)
    cell(page, 5, 3).click()
    expect(page).to_have_url(address_has(layer=5, head=3))
    page.go_back()
    expect(text(page, "head")).to_have_text("Layer 0, head 0")
    page.go_forward()
    expect(text(page, "head")).to_have_text("Layer 5, head 3")
    page.locator('.hs-gallery [data-key="coffee"]').click()
    complete(page, "coffee")
    page.go_back()
    complete(page, SCENE)
    expect(page).to_have_url(address_has(image=SCENE, layer=5, head=3))


def test_the_target_can_be_chosen(page: Page, server: str) -> None:
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    numbers = page.locator(".hs-atlas").inner_text()
    second = page.locator(".hs-predictions button").nth(1)
    target = second.get_attribute("data-class")
    second.click()
    expect(page).to_have_url(address_has(target=target))
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".hs-atlas")).not_to_have_text(numbers)
    complete(page, SCENE)
