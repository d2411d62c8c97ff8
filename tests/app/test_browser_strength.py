"""The panel "Strength" in a real browser: every control, hover, click, lasso, keyboard."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.analysis.trends import trend
from headscope.app import running
from headscope.models.demo import scenes

from .browsing import address_has, cell, complete, pixels, select, text

pytestmark = pytest.mark.browser
PANEL, OFFSETS = ".hs-panel-strength", ".hs-strength-offsets"
MIDDLE = """([name, kind, i]) => {
    const { plot } = document.querySelector(`[data-plot="${name}"]`);
    if (kind === "dot") return [plot.px[i], plot.py[i]];
    const [a, b] = plot.paths[i].slice(2, 4);
    return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
}"""
"""Where a mark of a plot is, in pixels of the plot."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(6)]
    metrics = ["entropy", "distance", "share", "hop_share", "hop_mean", "offset_map"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics, importance=False)
    return path


@pytest.fixture(scope="module")
def address(chrome: str, study: Path) -> Iterator[str]:
    with running.serving("--study", str(study)) as address:
        yield address


@pytest.fixture
def board(page: Page, address: str) -> Page:
    page.goto(f"{address}/?layer=2&head=1")
    ready(page)
    return page


def ready(page: Page) -> None:
    complete(page)
    page.wait_for_selector(f"{PANEL}[data-drawn]")
    page.locator(PANEL).first.scroll_into_view_if_needed()


def tab(page: Page, name: str) -> Locator:
    page.locator(f'[data-switch="strength-tab"] [data-choice="{name}"]').click()
    view = page.locator(f'[data-view="{name}"]')
    expect(view).to_be_visible()
    return view


def at(page: Page, name: str, kind: str, index: int) -> tuple[float, float]:
    """Where a mark is on the screen."""
    over = page.locator(f'[data-plot="{name}"] .hs-plot-over')
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    x, y = page.evaluate(MIDDLE, [name, kind, index])
    return box["x"] + x, box["y"] + y


def in_plot(page: Page, name: str, expression: str) -> Any:
    return page.locator(f'[data-plot="{name}"]').evaluate(f"({{ plot }}) => {expression}")


def chosen(page: Page, layer: int, head: int) -> None:
    # While the page runs anew the plots of before stay beside the new ones for a moment.
    expect(cell(page, layer, head).first).to_have_attribute("aria-selected", "true")


def percent(share: float) -> str:
    """As the page writes it."""
    return f"{100 * share:.{2 if share < 0.01 else 3}g} %"


def test_lines_are_pointed_at(board: Page) -> None:
    page = board
    view = tab(page, "profiles")
    assert in_plot(page, "profiles", "plot.spec.lines.length") == 24
    before = pixels(page, '[data-plot="profiles"] .hs-plot-over')
    x, y = at(page, "profiles", "line", 13)
    page.mouse.move(x, y)
    expect(page.locator(".hs-tooltip")).to_contain_text("Layer")
    # Where lines cross, the nearest wins: whichever it says is the one that a click chooses.
    words = page.locator(".hs-tooltip b").inner_text()
    layer, head = map(int, re.findall(r"\d+", words))
    page.mouse.click(x, y)
    chosen(page, layer, head)
    expect(text(page, "strength-profiles")).to_contain_text(f"layer {layer}, head {head}")
    expect(page).to_have_url(address_has(layer=layer, head=head))
    page.mouse.move(2, 2)
    expect(page.locator(".hs-tooltip")).to_be_hidden()
    assert (pixels(page, '[data-plot="profiles"] .hs-plot-over') != before).any()
    # Shift: the head set. Alt: switched off.
    page.keyboard.down("Shift")
    page.mouse.click(x, y)
    page.keyboard.up("Shift")
    expect(cell(page, layer, head)).to_have_class(re.compile("hs-marked"))
    expect(text(page, "strength-profiles")).to_contain_text("dashed lines the head set")
    page.keyboard.down("Alt")
    page.mouse.click(x, y)
    page.keyboard.up("Alt")
    expect(cell(page, layer, head)).to_have_class(re.compile("hs-off"))
    assert in_plot(page, "profiles", "plot.highlights.off.length") == 1
    expect(view).to_be_visible()


def test_lines_are_what_the_study_says(board: Page, study: Path) -> None:
    page = board
    tab(page, "profiles")
    data = hs.open_study(study).data

    def line(index: int) -> list[float]:
        return in_plot(page, "profiles", f"plot.spec.lines[{index}].y")

    sums, means = (data[name].values.astype(float) for name in ("hop_share", "hop_mean"))
    # Six significant digits travel.
    np.testing.assert_allclose(line(9), 100 * sums[0, 2, 1], rtol=1e-5)
    choice = page.locator('[data-switch="strength-profile"]')
    choice.locator('[data-choice="mean"]').click()
    np.testing.assert_allclose(line(9), 100 * means[0, 2, 1], rtol=1e-5)
    card = page.locator('[data-switch="profile"] [data-choice="mean"]')
    expect(card).to_have_attribute("aria-pressed", "true")  # the card shows the same
    page.locator('[data-switch="scope"] [data-choice="mean"]').click()
    expect(text(page, "strength-profiles")).to_contain_text("mean of 6 images")
    np.testing.assert_allclose(line(9), 100 * means[:, 2, 1].mean(0), rtol=1e-5)
    choice.locator('[data-choice="sum"]').click()
    np.testing.assert_allclose(line(9), 100 * sums[:, 2, 1].mean(0), rtol=1e-5)
    assert in_plot(page, "profiles", "plot.y.low") == 0
    page.locator('[data-switch="strength-scale"] [data-choice="log"]').click()
    assert in_plot(page, "profiles", "plot.y.log && plot.y.low > 0")


def test_keys_go_from_line_to_line(board: Page) -> None:
    page = board
    tab(page, "profiles")
    page.locator('[data-plot="profiles"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    said = page.locator('[data-plot="profiles"] .hs-plot-said')
    expect(said).to_contain_text("layer 2, head 2")
    page.keyboard.press("Enter")
    chosen(page, 2, 2)


def test_offsets_are_read_cell_by_cell(board: Page, study: Path) -> None:
    page = board
    tab(page, "offsets")
    values = hs.open_study(study).data["offset_map"].values.astype(float)
    about, canvas = text(page, "strength-offsets"), page.locator(OFFSETS)
    expect(about).to_contain_text("this image")
    place = canvas.evaluate(
        'canvas => canvas.closest(".hs-panel-strength") && window.headscopeParts.parts'
        '.get("strength").offsets.layers[2].rows.length'
    )
    assert place == 23
    share = values[0, 2, 1, 11, 11]
    page.locator(OFFSETS).focus()
    page.keyboard.press("ArrowDown")  # begins at the query's own patch
    expect(about).to_contain_text("0 rows down (0 px), 0 columns right (0 px)")
    expect(about).to_contain_text(f"{percent(share)} of a patch's attention")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    expect(about).to_contain_text("2 rows down (16 px), 1 column left (8 px)")
    expect(about).to_contain_text(percent(values[0, 2, 1, 13, 10]))
    page.locator('[data-switch="scope"] [data-choice="mean"]').click()
    expect(canvas).to_have_attribute("aria-label", re.compile("mean of 6 images"))
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 4)
    expect(about).to_contain_text("of a patch's attention")
    page.mouse.move(2, 2)
    expect(about).to_contain_text("Point at a cell")
    before = pixels(page, OFFSETS)
    end = values[:, 2, 1].mean(0).max()
    expect(page.locator('[data-legend="offsets"]')).to_contain_text(percent(end))
    page.locator('[data-select="head"]').select_option("3")
    expect(canvas).to_have_attribute("aria-label", re.compile("Layer 2, head 3"))
    assert (pixels(page, OFFSETS) != before).any()
    page.locator('[data-switch="scale"] [data-choice="shared"]').click()
    most = values.mean(0).max()
    expect(page.locator('[data-legend="offsets"]')).to_contain_text(percent(most))


def test_offsets_have_the_colours_of_their_shares(board: Page, study: Path) -> None:
    """Painted as the square root of the share, on the table that all maps have."""
    page = board
    tab(page, "offsets")
    values = hs.open_study(study).data["offset_map"].values[0, 2, 1].astype(float)
    painted = page.evaluate(
        """() => {
            const canvas = document.querySelector(".hs-strength-offsets");
            const size = [canvas.clientWidth, canvas.clientHeight];
            const data = canvas.getContext("2d").getImageData(0, 0, ...size).data;
            // A square map between margins of 50 and 46, 34 and 36 px: as the panel lays it out.
            const cell = Math.min((size[0] - 96) / 23, (size[1] - 70) / 23);
            const left = Math.round(50 + (size[0] - 96 - 23 * cell) / 2);
            const at = (row, column) => {
                const x = Math.floor(left + (column + 0.5) * cell);
                const y = Math.floor(34 + (row + 0.5) * cell);
                return Array.from(data.slice(4 * (y * size[0] + x), 4 * (y * size[0] + x) + 3));
            };
            return [5, 8, 14, 18].map((row) => [3, 9, 13, 20].map((column) => at(row, column)));
        }"""
    )
    brightness = np.array(painted, float).sum(-1)
    shares = values[np.ix_([5, 8, 14, 18], [3, 9, 13, 20])]
    order = np.argsort(shares, axis=None)
    steps = np.diff(brightness.ravel()[order])
    # The table grows in brightness; two shares that round to one step may be equal.
    assert (steps >= -1).all()
    assert np.ptp(brightness) > 60


def test_trend_has_dots_and_the_mean_with_its_interval(board: Page, study: Path) -> None:
    page = board
    view = tab(page, "trend")
    expect(select(page, "trend")).to_have_value("distance")
    expect(view).to_contain_text("95 % interval over images")
    select(page, "trend").select_option("entropy")
    opened = hs.open_study(study)
    expected = trend(opened, "entropy")
    drawn = in_plot(page, "trend", "Array.from(plot.spec.lines[0].y)")
    np.testing.assert_allclose(drawn, expected.mean[0], rtol=1e-6)
    values = opened.data["entropy"].values.astype(float)
    dots = in_plot(page, "trend", "Array.from(plot.spec.dots.y)")
    np.testing.assert_allclose(dots, values[0].ravel(), rtol=1e-5)
    page.locator('[data-switch="scope"] [data-choice="mean"]').click()
    dots = in_plot(page, "trend", "Array.from(plot.spec.dots.y)")
    np.testing.assert_allclose(dots, values.mean(0).ravel(), rtol=1e-5)
    x, y = at(page, "trend", "dot", 17)
    page.mouse.move(x, y)
    expect(page.locator(".hs-tooltip b")).to_have_text("Layer 4, head 1")
    page.mouse.click(x, y)
    chosen(page, 4, 1)
    assert in_plot(page, "trend", "plot.highlights.chosen")[0] == {"dot": 17}


def test_a_lasso_around_dots_is_the_head_set(board: Page) -> None:
    page = board
    tab(page, "trend")
    over = page.locator('[data-plot="trend"] .hs-plot-over')
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    left, top, _, high = in_plot(page, "trend", "plot.area")
    middle = in_plot(page, "trend", "plot.x.at(0.5)")
    corners = [
        (left + 1, top + 1),
        (middle, top + 1),
        (middle, top + high - 1),
        (left + 1, top + high - 1),
    ]
    page.mouse.move(box["x"] + corners[0][0], box["y"] + corners[0][1])
    page.mouse.down()
    for x, y in [*corners[1:], corners[0]]:
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
    page.mouse.up()
    expect(page).to_have_url(address_has(marked="0.0%2C0.1%2C0.2%2C0.3"))
    expect(page.locator(".hs-cell.hs-marked")).to_have_count(4)


def test_one_picture_has_no_interval(new_page: Callable[..., Page], server: str) -> None:
    page = new_page(dark=True)
    page.goto(f"{server}/?image=scene-8")
    page.wait_for_selector(f"{PANEL}[data-drawn]", timeout=180_000)
    view = tab(page, "trend")
    expect(view).not_to_contain_text("interval over images (")
    expect(view).to_contain_text("dots: heads, this image")
    tab(page, "offsets")
    expect(text(page, "strength-offsets")).to_contain_text("this image")
    tab(page, "profiles")
    expect(text(page, "strength-profiles")).to_contain_text("this image")
    assert in_plot(page, "profiles", "plot.spec.lines.length") == 24
