"""The panel "Pattern" in a real browser: dots, legend, lasso, planes, the way to learn patterns."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import headscope as hs
from headscope.analysis.patterns import Patterns, fit_patterns
from headscope.app import running
from headscope.models.demo import scenes

from .browsing import address_has, cell, complete, text
from .test_browser_strength import at, chosen, in_plot

pytestmark = pytest.mark.browser
PANEL = ".hs-panel-pattern"
N_IMAGES = 6


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "patterns.zarr"
    images = [scenes.scene(seed).image for seed in range(N_IMAGES)]
    metrics = ["entropy", "distance"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics, importance=False)
    return path


@pytest.fixture(scope="module")
def patterns(study: Path) -> Patterns:
    """Learned and saved, with both planes."""
    found = fit_patterns(hs.open_study(study), clusters=3, umap=True)
    found.save(hs.open_study(study))
    return found


@pytest.fixture(scope="module")
def address(chrome: str, study: Path, patterns: Patterns) -> Iterator[str]:
    assert len(patterns.maps) == 24 * N_IMAGES
    with running.serving("--study", str(study)) as address:
        yield address


@pytest.fixture
def board(page: Page, address: str) -> Page:
    page.goto(f"{address}/?layer=2&head=1")
    complete(page)
    page.wait_for_selector(f"{PANEL}[data-drawn]")
    page.locator(PANEL).first.scroll_into_view_if_needed()
    return page


def lonely(page: Page, *, shown: bool) -> int:
    """A dot that no other covers, of the image that is shown or of another one."""
    place = page.locator('[data-plot="pattern"]').evaluate(
        """({ plot }, shown) => {
            const part = window.headscopeParts.parts.get("pattern");
            const here = document.querySelector(".hs-root").dataset.image;
            const far = (i) => Math.min(...Array.from(plot.px, (x, j) => (
                i === j ? Infinity : Math.hypot(x - plot.px[i], plot.py[j] - plot.py[i]))));
            const dots = Array.from(plot.px.keys()).filter((i) => (
                (part.images[part.image[i]] === here) === shown));
            return dots.reduce((best, i) => (far(i) > far(best) ? i : best));
        }""",
        shown,
    )
    return int(place)


def test_a_dot_is_a_head_on_an_image(board: Page, patterns: Patterns) -> None:
    page, maps = board, patterns.maps
    dot = lonely(page, shown=False)
    layer, head = int(maps.layer[dot]), int(maps.head[dot])
    image = maps.origins[0].images[int(maps.image[dot])]
    name = patterns.names[patterns.clustering.labels[dot]]
    x, y = at(page, "pattern", "dot", dot)
    page.mouse.move(x, y)
    tip = page.locator(".hs-tooltip")
    expect(tip.locator("b")).to_have_text(f"Layer {layer}, head {head}")
    expect(tip).to_contain_text(image)
    expect(tip).to_contain_text(name)
    expect(tip.locator(".hs-pattern-thumbnail")).to_be_visible()
    expect(tip.locator("> canvas")).to_be_hidden()  # the map in the browser is another image's
    page.mouse.click(x, y)
    chosen(page, layer, head)
    expect(text(page, "pattern")).to_contain_text(f"Layer {layer}, head {head} in {image}: {name}")
    own = np.flatnonzero((maps.layer == layer) & (maps.head == head)).tolist()
    assert in_plot(page, "pattern", "plot.front") == own
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()
    page.locator('[data-act="pattern-image"]').click()
    complete(page, image)
    expect(page).to_have_url(address_has(image=image, layer=layer, head=head))
    # Its dot on that image has the ring.
    page.wait_for_function(
        """dot => {
            const { plot } = document.querySelector('[data-plot="pattern"]');
            return plot.highlights.chosen.length === 1 && plot.highlights.chosen[0].dot === dot;
        }""",
        arg=dot,
    )
    expect(page.locator('[data-act="pattern-image"]').first).to_be_hidden()


def test_a_double_click_shows_the_image(board: Page, patterns: Patterns) -> None:
    page, maps = board, patterns.maps
    dot = lonely(page, shown=False)
    page.mouse.dblclick(*at(page, "pattern", "dot", dot))
    complete(page, maps.origins[0].images[int(maps.image[dot])])
    chosen(page, int(maps.layer[dot]), int(maps.head[dot]))


def test_the_list_tells_of_groups_and_of_the_chosen_head(board: Page, patterns: Patterns) -> None:
    page = board
    for cluster in patterns.clusters:
        entry = page.locator(f'[data-cluster="{cluster.index}"]')
        expect(entry).to_contain_text(cluster.name)
        expect(entry).to_contain_text(f"{round(100 * cluster.share)} % of maps")
        expect(entry.locator("canvas.hs-pattern-prototype")).to_have_count(2)
    heads = patterns.heads
    for layer, head in [(2, 1), (4, 2)]:
        page.locator('[data-select="layer"]').select_option(str(layer))
        page.locator('[data-select="head"]').select_option(str(head))
        expect(text(page, "pattern-head")).to_have_text(f"Layer {layer}, head {head}")
        row = int(np.flatnonzero((heads.heads[:, 1:] == (layer, head)).all(1))[0])
        words = f"{patterns.names[heads.modal[row]]} in {round(100 * heads.stability[row])} %"
        expect(text(page, "pattern-modal")).to_contain_text(words)
        shown = page.locator(".hs-pattern-bar span")
        expect(shown).to_have_count(int((heads.shares[row] > 0).sum()))
        grown = shown.evaluate_all("pieces => pieces.map((piece) => Number(piece.style.flexGrow))")
        np.testing.assert_allclose(grown, heads.shares[row][heads.shares[row] > 0], rtol=1e-4)


def test_a_group_marks_its_heads_and_takes_them_back(board: Page, patterns: Patterns) -> None:
    page, heads = board, patterns.heads
    entry = page.locator('[data-cluster="1"]')
    mostly = heads.heads[heads.modal == 1, 1:].tolist()
    assert mostly
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".hs-cell.hs-marked")).to_have_count(len(mostly))
    for layer, head in mostly:
        expect(cell(page, layer, head)).to_have_class(re.compile("hs-marked"))
    assert in_plot(page, "pattern", "plot.marked.length") == N_IMAGES * len(mostly)
    entry.focus()
    page.keyboard.press("Enter")
    expect(entry).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".hs-cell.hs-marked")).to_have_count(0)


def test_a_lasso_marks_the_heads_of_its_dots(board: Page, patterns: Patterns) -> None:
    page, maps = board, patterns.maps
    dot = lonely(page, shown=True)
    x, y = at(page, "pattern", "dot", dot)
    # Around that dot alone: no other is nearer than this.
    page.mouse.move(x - 3, y - 3)
    page.mouse.down()
    for dx, dy in [(3, -3), (3, 3), (-3, 3), (-3, -3)]:
        page.mouse.move(x + dx, y + dy, steps=2)
    page.mouse.up()
    pair = f"{maps.layer[dot]}.{maps.head[dot]}"
    expect(page).to_have_url(address_has(marked=pair))


def test_the_other_plane_lays_the_same_dots_out(board: Page, patterns: Patterns) -> None:
    page = board
    for key in ("umap", "pca"):
        page.locator(f'[data-switch="pattern-plane"] [data-choice="{key}"]').click()
        xs = in_plot(page, "pattern", "Array.from(plot.spec.dots.x)")
        np.testing.assert_allclose(xs, patterns.projections[key].points[:, 0], rtol=1e-5)
    expect(text(page, "pattern")).to_contain_text("of the latent variance")


def test_keys_go_from_dot_to_dot(board: Page) -> None:
    page = board
    page.locator('[data-plot="pattern"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = page.locator('[data-plot="pattern"] .hs-plot-said')
    expect(said).to_have_text(re.compile(r"layer \d+, head \d+ in .+: .+"))
    layer, head = map(int, re.findall(r"\d+", said.inner_text())[:2])
    page.keyboard.press("Enter")
    chosen(page, layer, head)


def test_without_patterns_the_part_that_learns_them_is_opened(
    new_page: Callable[..., Page], server: str
) -> None:
    page = new_page(dark=True)
    page.goto(f"{server}/?image=scene-8")
    page.locator(PANEL).get_by_role("button", name="Learn patterns").wait_for()
    empty = page.locator('[data-text="pattern-empty"]')
    expect(empty).to_contain_text("None are learned for this checkpoint yet")
    empty.get_by_role("button", name="Learn patterns").click()
    expect(page).to_have_url(address_has(part="Patterns"))
    expect(page.locator(".st-key-depth").get_by_text("Patterns").first).to_be_visible()
