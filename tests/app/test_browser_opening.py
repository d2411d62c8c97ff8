"""A visit in a real Chromium: the first, the next, and one whose server goes away."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from headscope.app import running, studies

from .browsing import SCENE, address_has, cell, complete, select, text

pytestmark = pytest.mark.browser

SAMPLE = "sample/supervised"


@pytest.fixture(scope="module")
def study_server(chrome: str) -> Iterator[str]:
    with running.serving("--study", SAMPLE) as address:
        yield address


def test_the_first_visit_is_shown_around_once(
    new_page: Callable[..., Page], study_server: str
) -> None:
    page = new_page(tour=True)
    page.goto(study_server)
    card = page.get_by_role("dialog")
    expect(card).to_contain_text("1 of 3")
    expect(card).to_have_accessible_name("Pick a picture")
    complete(page)
    page.keyboard.press("Enter")  # the focus is on Next
    expect(card).to_have_accessible_name("Click a head")
    light = page.locator(".hs-tour-light").bounding_box()
    atlas = page.locator(".hs-atlas").bounding_box()
    assert light is not None
    assert atlas is not None
    assert light["x"] <= atlas["x"]
    assert light["y"] <= atlas["y"]
    cell(page, 1, 1).click()  # through the light
    expect(text(page, "head")).to_have_text("Layer 1, head 1")
    page.get_by_role("button", name="Back", exact=True).click()
    expect(card).to_contain_text("1 of 3")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(card).to_have_accessible_name("Click a patch")
    for name in ("Skip", "Back", "Done", "Skip"):  # Tab stays in the card
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name, exact=True)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(card).to_have_count(0)
    page.reload()
    complete(page)
    expect(card).to_have_count(0)
    question = page.get_by_role("button", name="Show the tour")
    question.click()
    expect(card).to_contain_text("1 of 3")
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    expect(question).to_be_focused()


def test_the_next_visit_may_go_on_where_the_last_left(page: Page, study_server: str) -> None:
    offer = page.get_by_role("region", name="The last session")
    page.goto(study_server)
    complete(page)
    expect(offer).to_have_count(0)  # there was none yet
    select(page, "layer").select_option("3")
    select(page, "head").select_option("1")
    expect(page).to_have_url(address_has(layer=3, head=1))
    for _ in range(2):  # looking at the page alone does not forget it
        page.goto(study_server)
        complete(page)
        expect(offer).to_contain_text(f"study {SAMPLE}, layer 3, head 1")
        expect(text(page, "head")).not_to_have_text("Layer 3, head 1")
    offer.get_by_role("link").click()
    expect(text(page, "head")).to_have_text("Layer 3, head 1")
    expect(page).to_have_url(address_has(layer=3, head=1))
    expect(offer).to_have_count(0)
    page.goto(study_server)
    complete(page)
    offer.get_by_role("button", name="Do not go on").click()
    expect(offer).to_have_count(0)


def test_a_lost_server_is_said_and_the_page_goes_on_when_it_is_back(
    chrome: str, browser: Browser
) -> None:
    """In a context of its own: a browser logs the connections that it could not make."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(running.NO_TOUR)
    page = context.new_page()
    page.set_default_timeout(180_000)
    port = running.free_port()
    alert = page.get_by_role("alert").filter(has_text="lost headscope’s server")
    with running.serving("--study", SAMPLE, port=port) as address:
        page.goto(f"{address}/?layer=2&head=3")
        complete(page)
        expect(text(page, "head")).to_have_text("Layer 2, head 3")
    expect(alert).to_be_visible(timeout=120_000)
    cell(page, 4, 1).click()  # what is in the browser is still linked
    expect(text(page, "head")).to_have_text("Layer 4, head 1")
    assert "Streamlit" not in page.locator("body").inner_text()
    with running.serving("--study", SAMPLE, port=port):
        expect(alert).to_have_count(0, timeout=120_000)
        complete(page)
        expect(text(page, "head")).to_contain_text("Layer")
        cell(page, 1, 2).click()
        expect(text(page, "head")).to_have_text("Layer 1, head 2")
        expect(page).to_have_url(address_has(layer=1, head=2))
    context.close()


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (2560, 1440)], ids=str)
def test_nothing_jumps_when_the_selection_changes(
    new_page: Callable[..., Page], study_server: str, size: tuple[int, int]
) -> None:
    page = new_page(width=size[0], height=size[1])
    page.goto(f"{study_server}/?image={SCENE}&layer=0&head=0")
    complete(page, SCENE)
    page.evaluate(
        """() => {
            window.shifts = [];
            window.moved = [];
            new PerformanceObserver((list) => {
                for (const entry of list.getEntries()) {
                    shifts.push(entry.value);
                    for (const { node, previousRect, currentRect } of entry.sources) {
                        const at = node?.nodeType === Node.TEXT_NODE ? node.parentElement : node;
                        const down = Math.abs(currentRect.y - previousRect.y) > 1;
                        if (down && at && !at.closest(".hs-numbers, .hs-tooltip")) {
                            moved.push(at.outerHTML);
                        }
                    }
                }
            }).observe({ type: "layout-shift" });
        }"""
    )
    for layer, head in ((5, 3), (0, 1), (3, 2)):
        cell(page, layer, head).click()
        expect(text(page, "head")).to_have_text(f"Layer {layer}, head {head}")
        expect(page).to_have_url(address_has(layer=layer, head=head))
    select(page, "token").select_option("patch 3, 4")
    expect(text(page, "query")).to_have_text("Query patch 3, 4 attends to")
    select(page, "metric").select_option("entropy")
    expect(page).to_have_url(address_has(metric="entropy"))
    # Right-aligned numbers are wider or narrower, and the preview follows the pointer; nothing else
    # moves. (0.1 is what the web vitals call good for a whole visit.)
    assert page.evaluate("moved") == []
    assert sum(page.evaluate("shifts")) < 0.1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_back_and_forth_fast_ends_where_it_should(page: Page, study_server: str) -> None:
    page.goto(f"{study_server}/?image={SCENE}&layer=0&head=0")
    complete(page, SCENE)
    for layer in (1, 2, 3):
        cell(page, layer, 0).click()
        expect(page).to_have_url(address_has(layer=layer, head=0))
    page.evaluate("history.go(-1); setTimeout(() => history.go(-1), 30)")
    expect(page).to_have_url(address_has(layer=1, head=0))
    expect(text(page, "head")).to_have_text("Layer 1, head 0")
    page.evaluate("history.go(1); setTimeout(() => history.go(1), 30)")
    expect(page).to_have_url(address_has(layer=3, head=0))
    expect(text(page, "head")).to_have_text("Layer 3, head 0")


def test_a_typed_path_of_a_study_opens_it(page: Page, server: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.zarr.zip"
    path.write_bytes(studies.samples()[SAMPLE].read_bytes())
    page.goto(f"{server}/?image={SCENE}")
    complete(page, SCENE)
    box = page.get_by_label("Checkpoint", exact=True)
    box.fill(str(path))
    box.press("Enter")
    expect(page).to_have_url(address_has(study="mine.zarr.zip"))
    complete(page)
    expect(page.locator('.hs-gallery [data-key="scene-5"]')).to_have_count(1)
    page.reload()
    complete(page)
    expect(page).to_have_url(address_has(study="mine.zarr.zip"))


def test_what_is_remembered_may_be_garbage(page: Page, study_server: str) -> None:
    page.add_init_script("localStorage.setItem('headscope.last', '?layer=x&study=%FF🦊')")
    page.goto(study_server)
    complete(page)
    offer = page.get_by_role("region", name="The last session")
    offer.get_by_role("link").click()
    expect(page.locator('[data-testid="stMain"] [data-testid="stAlert"]')).to_contain_text("layer")
    complete(page)
