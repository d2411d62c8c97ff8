"""The Images panel in a real Chromium."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

import headscope as hs

from .board_browsing import (
    N_IMAGES,
    alone,
    board,
    encircle,
    left_half,
    on_scenes,
    path,
    place,
    plot,
    ready,
    study,
    tab,
)
from .browsing import address_has, cell, complete, pixels, select, text

__all__ = ["board", "on_scenes", "path", "study"]
pytestmark = pytest.mark.browser

SLOW = 300_000
"""Milliseconds: UMAP compiles itself on the first use."""


def test_an_image_is_chosen_in_all_views(board: Page) -> None:
    dot = alone(board, "images")
    board.mouse.move(*place(board, "images", dot))
    expect(board.locator(".hs-tooltip")).to_contain_text(f"scene {dot}")
    board.mouse.click(*place(board, "images", dot))
    complete(board, f"scene {dot}")
    expect(board).to_have_url(address_has(image=f"scene+{dot}"))


def test_means_are_over_the_images_that_are_encircled(board: Page, study: hs.Study) -> None:
    expected = left_half(board, "images")
    assert 2 < len(expected) < N_IMAGES
    encircle(board, "images")
    chip = text(board, "images-chosen")
    expect(chip).to_have_text(f"{len(expected)} images chosen ×")
    scope = board.locator('[data-switch="scope"] [data-choice="mean"]')
    expect(scope).to_have_text(f"Mean of {len(expected)}")
    expect(scope).to_have_attribute("aria-pressed", "true")
    select(board, "metric").select_option("distance")
    distance = study.data["distance"].values[expected, 2, 1].mean()
    expect(cell(board, 2, 1)).to_have_text(f"{distance:.1f}")
    tab(board, "ranking")
    expect(text(board, "ranking-note")).to_contain_text(f"over {len(expected)} images")
    dot = alone(board, "images")
    board.keyboard.down("Shift")
    board.mouse.click(*place(board, "images", dot))
    board.keyboard.up("Shift")
    now = len(expected) + (1 if dot not in expected else -1)
    expect(chip).to_have_text(f"{now} images chosen ×")
    expect(scope).to_have_text(f"Mean of {now}")
    board.reload()
    ready(board)
    expect(scope).to_have_text(f"Mean of {now}")
    chip.click()
    expect(scope).to_have_text(f"Mean of {N_IMAGES}")
    expect(chip).to_be_hidden()


def test_colours_of_images(board: Page, study: hs.Study) -> None:
    legend = board.locator('.hs-panel-images [data-text="legend"]')
    seen = [pixels(board, '[data-plot="images"] .hs-plot-marks')]
    for colour, words in (
        ("correct", f"right: {N_IMAGES - 1}"),
        ("prediction", None),
        ("number target_probability", "probability"),
        ("head", "probability"),
    ):
        select(board, "images-colour").select_option(colour)
        if words:
            expect(legend).to_contain_text(words)
        seen.append(pixels(board, '[data-plot="images"] .hs-plot-marks'))
        assert (seen[-1] != seen[-2]).any()
    select(board, "metric").select_option("distance")
    expect(legend).to_contain_text("px")
    cell(board, 3, 0).click()
    values = study.data["distance"].values[:, 3, 0]
    assert 1 < values.max() - values.min() < 10  # two decimals then tell a hundredth of it
    expect(legend).to_contain_text(f"{values.min():.2f}")
    expect(legend).to_contain_text(f"{values.max():.2f}")


def test_layouts_of_images(board: Page) -> None:
    note = text(board, "images-note")
    expect(note).to_contain_text("2 numbers of each of 24 heads")
    before = plot(board, "images").evaluate("({plot}) => Array.from(plot.px)")
    select(board, "images-of").select_option("importance")
    expect(note).to_contain_text("what changes without each head")
    assert plot(board, "images").evaluate("({plot}) => Array.from(plot.px)") != before
    method = board.locator('[data-switch="images-method"]')
    method.locator('[data-choice="umap"]').click()
    expect(note).to_contain_text("trustworthiness", timeout=SLOW)
    method.locator('[data-choice="pca"]').click()
    expect(note).to_contain_text("of the variance")


def test_arrow_keys_and_enter_choose_an_image(board: Page) -> None:
    plot(board, "images").focus()
    board.keyboard.press("ArrowRight")
    said = plot(board, "images").locator(".hs-plot-said")
    expect(said).to_contain_text("scene 0, is ")
    board.keyboard.press("ArrowLeft")
    board.keyboard.press("ArrowUp")
    name = said.inner_text().split(",")[0]
    board.keyboard.press("Enter")
    complete(board, name)


def test_one_picture_says_what_to_do(page: Page, server: str) -> None:
    page.goto(server)
    page.wait_for_selector('.hs-root[data-state="complete"]', timeout=SLOW)
    expect(page.locator(".hs-root")).to_have_count(1)
    expect(text(page, "images-empty")).to_contain_text("headscope analyze FOLDER")
    tab(page, "parts")
    expect(text(page, "parts-command")).to_contain_text("class-to-patch")
    tab(page, "ranking")
    expect(text(page, "ranking-note")).to_contain_text("1 image: an interval over images takes 3.")


def test_panels_in_the_dark_have_their_own_colours(
    new_page: Callable[..., Page], on_scenes: str
) -> None:
    marks = []
    for dark in (False, True):
        page = new_page(dark=dark)
        page.goto(on_scenes)
        ready(page)
        marks.append(plot(page, "scatter").evaluate("({plot}) => plot.app.theme.ink"))
    light, dark = (sum(map(int, ink[4:-1].split(","))) for ink in marks)
    assert dark > light + 300
