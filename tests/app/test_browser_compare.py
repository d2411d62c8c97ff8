"""The part "Compare" in a real browser."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.app import running
from headscope.models.demo.scenes import scene

from .browsing import address_has, complete, keyed, open_part, pick

N, N_HEADS = 3, 24


@pytest.fixture(scope="module")
def address(chrome: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on three studies of the same scenes."""
    assert chrome
    folder = tmp_path_factory.mktemp("studies")
    paths = []
    for name in ("supervised", "masked", "registers"):
        path = folder / f"{name}.zarr"
        hs.analyze(
            hs.load(f"demo/{name}"),
            [_saved(folder, seed) for seed in range(N)],
            out=path,
            metrics=["entropy", "distance", "hop_share"],
            importance=False,
        )
        paths += ["--study", str(path)]
    with running.serving(*paths) as served:
        yield served


def _saved(folder: Path, seed: int) -> Path:
    from PIL import Image

    path = folder / f"scene-{seed}.png"
    Image.fromarray(scene(seed).image).save(path)
    return path


def chart(page: Page, key: str) -> Locator:
    """A chart that is drawn, and not of a run before."""
    place = page.locator(f".st-key-{key}")
    expect(place.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    return place


def choose(page: Page, key: str, name: str) -> None:
    page.locator(f".st-key-{key}").get_by_role("radio", name=name, exact=True).click()


def click_cell(page: Page, key: str, axis: str, layer: int, head: int) -> None:
    """The place of a head in an atlas, by the plot's own axes."""
    plot = chart(page, key).locator(".js-plotly-plot")
    at = plot.evaluate(
        """(plot, [axis, layer, head]) => {
            const {xaxis, yaxis} = {
                xaxis: plot._fullLayout["xaxis" + axis], yaxis: plot._fullLayout["yaxis" + axis]
            };
            return {x: xaxis._offset + xaxis.l2p(head), y: yaxis._offset + yaxis.l2p(layer)};
        }""",
        [axis, layer, head],
    )
    plot.click(position=at)


@pytest.mark.parametrize("dark", [False, True])
def test_a_click_in_an_atlas_chooses_the_head_everywhere(
    new_page: Callable[..., Page],
    address: str,
    dark: bool,  # noqa: FBT001
) -> None:
    page = new_page(dark=dark)
    page.set_default_timeout(180_000)
    page.goto(f"{address}/?part=Compare&against=masked.zarr")
    expect(page.get_by_text("A: demo/supervised, B: demo/masked")).to_be_visible(timeout=180_000)
    click_cell(page, "compare-atlases", "", 3, 2)
    expect(page).to_have_url(address_has(layer=3, head=2, against="masked.zarr"))
    expect(page.locator('.hs-cell[data-layer="3"][data-head="2"]')).to_have_attribute(
        "aria-selected", "true"
    )
    choose(page, "compare_view", "Matching")
    chart(page, "compare-lines")
    expect(page.get_by_text(re.compile(r"^L3 H2 of A (is|has no match)"))).to_be_visible()


def test_a_series_plays(new_page: Callable[..., Page], address: str) -> None:
    page = new_page()
    page.set_default_timeout(180_000)
    page.goto(f"{address}/?part=Compare&against=masked.zarr%7Cregisters.zarr&layer=1&head=1")
    choose(page, "compare_view", "Series")
    page.locator(".st-key-compare_always").get_by_text("Follow the best").click()
    expect(page.get_by_text("Every head is followed")).to_be_visible(timeout=180_000)
    plot = chart(page, "compare-film").locator(".js-plotly-plot")
    before = _xs(plot)
    plot.get_by_text("▶ Play").click()
    page.wait_for_function(
        """before => {
            const plot = document.querySelector(".st-key-compare-film .js-plotly-plot");
            return plot.data[0].x.length === 3 && plot.data[1].x.join() !== before;
        }""",
        arg=before,
    )


def _xs(plot: Locator) -> str:
    return plot.evaluate("plot => plot.data[1].x.join()")


def test_every_view_by_its_controls(page: Page, address: str) -> None:
    page.goto(f"{address}/?part=Compare&against=masked.zarr&layer=2&head=1")
    expect(page.get_by_text("A: demo/supervised, B: demo/masked")).to_be_visible()
    panel = page.locator(".st-key-depth")
    pick(page, "compare_metric", "Entropy of attention")
    expect(chart(page, "compare-atlases").locator(".infolayer")).to_contain_text("nats")
    choose(page, "compare_paired", "by matched head")
    expect(keyed(page, "compare_by")).to_be_visible()
    expect(chart(page, "compare-atlases")).to_be_visible()

    choose(page, "compare_view", "Matching")
    choose(page, "compare_drawn", "Matrix")
    chart(page, "compare-matrix")
    choose(page, "compare_of", "Output")
    expect(chart(page, "compare-matrix").locator(".infolayer")).to_contain_text("Output")
    limit = panel.get_by_role("slider", name="Match from score")
    for _ in range(100):
        limit.press("ArrowRight")
    limit.press("ArrowLeft")
    matched = panel.locator('[data-testid="stMetric"]', has_text="Matched")
    expect(matched.locator('[data-testid="stMetricValue"]')).to_have_text("0")
    choose(page, "compare_drawn", "Table")
    expect(panel.locator('[data-testid="stDataFrame"]')).to_be_visible()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Table as CSV").click()
    assert len(Path(download.value.path()).read_text().splitlines()) > N_HEADS

    choose(page, "compare_view", "A against B")
    chart(page, "compare-scatter")
    choose(page, "compare_view", "Layers")
    chart(page, "compare-layers")

    choose(page, "compare_view", "Predictions")
    expect(panel.get_by_text("predictions differ")).to_be_visible()
    keyed(page, "compare_all").get_by_text("Also those that agree").click()
    expect(panel.locator('[data-testid="stDataFrame"]')).to_be_visible()
    expect(panel.locator('[data-testid="stAlert"]')).to_have_count(0)


def test_checkpoints_on_one_picture(page: Page, server: str) -> None:
    page.goto(f"{server}/?image=scene-8")
    complete(page)
    open_part(page, "Compare")
    expect(page.get_by_text(re.compile("A: demo/supervised, B: demo/"))).to_be_visible()
    chart(page, "compare-atlases")
    choose(page, "compare_view", "Predictions")
    expect(page.get_by_text("predictions differ")).to_be_visible()
