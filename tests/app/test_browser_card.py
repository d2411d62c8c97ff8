"""The head card's facts, small multiples and explanations of numbers in a real Chromium."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.analysis.importance.intervals import bootstrap_interval
from headscope.analysis.multiples import by_decile
from headscope.analysis.patterns import fit_patterns
from headscope.app import running
from headscope.models.demo import scenes

from .browsing import (
    MAP,
    address_has,
    cell,
    complete,
    luminance,
    patch_at,
    pixels,
    select,
    text,
)

pytestmark = pytest.mark.browser
METRICS = [
    "js_divergence", "distance", "entropy", "entropy_share", "sink_score", "sink_token",
    "map_cosine", "output_cka",
]  # fmt: skip
N = 12
TILE = ".hs-multiples-tile"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "twelve.zarr"
    images = [scenes.scene(seed).image for seed in range(N)]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=METRICS)
    fit_patterns(hs.open_study(path), clusters=3, umap=False).save(hs.open_study(path))
    return path


@pytest.fixture(scope="module")
def study_server(study: Path, chrome: str) -> Iterator[str]:
    with running.serving("--study", str(study)) as address:
        yield address


def fact(page: Page, name: str) -> Locator:
    return page.locator(f'[data-fact="{name}"] .hs-fact-value')


def multiples(page: Page) -> Locator:
    """The panel, once it shows what is chosen."""
    panel = page.locator(".hs-panel-multiples")
    expect(panel).to_have_attribute("data-state", "complete")
    return panel


def images_shown(page: Page) -> list[str]:
    return page.locator(TILE).evaluate_all("tiles => tiles.map(tile => tile.dataset.image)")


def expected_images(study: Path, metric: str, layer: int, head: int) -> list[str]:
    data = hs.open_study(study).data
    variable = data[metric].isel(ablation=0) if "ablation" in data[metric].dims else data[metric]
    places = by_decile(variable.values[:, layer, head].astype(float))
    return [str(data["image"].values[place.image]) for place in places]


def in_numbers(words: str) -> list[float]:
    plain = words.replace("−", "-").replace(" … ", " ")
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", plain)]


def test_the_card_says_all_that_matters_of_a_head(
    page: Page, study: Path, study_server: str
) -> None:
    page.goto(f"{study_server}/?layer=4&head=2&metric=js_divergence")
    complete(page)
    expect(fact(page, "interval")).to_contain_text("…")
    expect(fact(page, "interval")).to_contain_text("nats")
    scores = hs.open_study(study).data["js_divergence"].values[:, 0].astype(float)
    exact = bootstrap_interval(scores)
    mean, low, high = in_numbers(fact(page, "interval").inner_text())[:3]
    for shown, value in ((mean, exact.mean), (low, exact.low), (high, exact.high)):
        # Written so that a hundredth of the interval can be told apart.
        assert shown == pytest.approx(value[4, 2], abs=0.01 * (exact.high - exact.low)[4, 2])
    expect(page.locator('[data-fact="interval"]')).to_contain_text(f"Mean of {N} images, 95 %")
    entropy = float(hs.open_study(study).data["entropy"].values[0, 4, 2])
    shown = in_numbers(fact(page, "entropy").inner_text())[0]
    assert shown == pytest.approx(entropy, rel=0.005)  # three digits
    found = hs.open_patterns(hs.open_study(study))
    row = found.heads.heads[:, 1:].tolist().index([4, 2])
    name = found.names[found.heads.modal[row]]
    expect(fact(page, "pattern")).to_contain_text(name)
    expect(fact(page, "sink")).not_to_have_text("…")


def test_a_nearest_head_is_previewed_and_chosen(page: Page, study: Path, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=3&head=1")
    complete(page)
    similarity = hs.open_study(study).data["map_cosine"].values[3, 1].copy()
    similarity[3, 1] = -1
    layer, head = np.unravel_index(similarity.argmax(), similarity.shape)
    nearest = fact(page, "nearest-0").locator("button").first
    expect(nearest).to_have_attribute("data-near", f"{layer}.{head}")
    expect(fact(page, "nearest-1").locator("button")).to_have_count(3)
    nearest.hover()
    expect(page.locator(".hs-tooltip")).to_contain_text(f"Layer {layer}, head {head}")
    nearest.click(modifiers=["Shift"])
    expect(cell(page, int(layer), int(head))).to_have_class(re.compile("hs-marked"))
    nearest.click()
    expect(text(page, "head")).to_have_text(f"Layer {layer}, head {head}")
    expect(page).to_have_url(address_has(layer=layer, head=head))


def test_facts_open_the_parts_that_they_are_from(page: Page, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=4&head=2")
    complete(page)
    fact(page, "pattern").locator("button").click()
    expect(page).to_have_url(address_has(part="Patterns"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_number_is_explained_where_it_stands(
    new_page: Callable[..., Page], study_server: str, *, dark: bool
) -> None:
    page = new_page(dark=dark)
    page.goto(f"{study_server}/?layer=4&head=2&metric=distance")
    complete(page)
    asking = page.locator(".hs-panel-atlas .hs-what")
    expect(asking).to_have_attribute("aria-expanded", "false")
    select(page, "metric").focus()
    page.keyboard.press("Tab")
    expect(asking).to_be_focused()
    page.keyboard.press("Enter")
    expect(asking).to_have_attribute("aria-expanded", "true")
    told = text(page, "about")
    for words in ("Mean attention distance, in px", "Formula", "dᵢⱼ the distance", "Range",
                  "How to read", "Source", "Dosovitskiy"):  # fmt: skip
        expect(told).to_contain_text(words)
    ink = luminance(page, ".hs-explainer dt", "color")
    paper = luminance(page, ".hs-explainer", "backgroundColor")
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5  # WCAG 2.1, level AA
    page.keyboard.press("Escape")
    expect(told).to_be_hidden()
    expect(asking).to_be_focused()
    expect(asking).to_have_attribute("aria-expanded", "false")
    # Another one, from the card: it takes the place of the first.
    asking.click()
    number = page.locator('.hs-number-line:has([data-metric="js_divergence"]) .hs-what')
    number.click()
    expect(told).to_contain_text("ln 2")
    expect(told).to_contain_text("Ablation: zero")
    expect(asking).to_have_attribute("aria-expanded", "false")
    box = page.locator(".hs-explainer").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    assert box["y"] + box["height"] <= 800
    page.locator(".hs-panel-atlas h2").click()
    expect(told).to_be_hidden()
    page.locator('[data-fact="nearest-0"] .hs-what').click()
    expect(told).to_contain_text("Similarity of maps")


def test_an_open_explanation_follows_the_atlas(page: Page, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=4&head=2&metric=distance")
    complete(page)
    page.locator(".hs-panel-atlas .hs-what").click()
    expect(text(page, "about")).to_contain_text("Mean attention distance")
    select(page, "metric").focus()
    page.keyboard.press("ArrowDown")
    shown = page.locator('[data-select="metric"] option:checked').inner_text()
    assert shown != "Mean attention distance"
    select(page, "metric").select_option("entropy")


def test_multiples_show_the_deciles_and_follow_the_head(
    page: Page, study: Path, study_server: str
) -> None:
    page.goto(f"{study_server}/?layer=4&head=2&metric=distance")
    complete(page)
    panel = multiples(page)
    assert images_shown(page) == expected_images(study, "distance", 4, 2)
    expect(text(page, "multiples")).to_contain_text("Layer 4, head 2")
    expect(text(page, "multiples-range")).to_contain_text("%")
    seen = pixels(page, f"{TILE} canvas >> nth=0")
    cell(page, 5, 1).click()
    expect(text(page, "multiples")).to_contain_text("Layer 5, head 1")
    multiples(page)
    assert images_shown(page) == expected_images(study, "distance", 5, 1)
    assert not np.array_equal(pixels(page, f"{TILE} canvas >> nth=0"), seen)
    select(page, "multiples").select_option("sink_score")
    expect(text(page, "multiples")).to_contain_text("sink score")
    multiples(page)
    assert images_shown(page) == expected_images(study, "sink_score", 5, 1)
    panel.locator(".hs-what").click()
    expect(text(page, "about")).to_contain_text("Sink score")


def test_multiples_follow_the_query_under_the_pointer(page: Page, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=2&head=0&metric=entropy")
    complete(page)
    panel = multiples(page)
    before, top = (
        pixels(page, f"{TILE} canvas >> nth=3"),
        text(page, "multiples-range").inner_text(),
    )
    page.locator(MAP).hover(position=patch_at(page, 2, 9))
    expect(panel).to_have_attribute("data-query", "patch 2, 9")
    expect(text(page, "multiples-range")).not_to_have_text(top)
    assert not np.array_equal(pixels(page, f"{TILE} canvas >> nth=3"), before)
    page.mouse.move(5, 5)
    expect(text(page, "multiples-range")).to_have_text(top)


def test_a_click_on_a_multiple_shows_its_image(page: Page, study: Path, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=4&head=2&metric=distance")
    complete(page)
    multiples(page)
    name = expected_images(study, "distance", 4, 2)[-1]
    tile = page.locator(f'{TILE}[data-image="{name}"]')
    expect(tile).to_have_attribute("aria-label", re.compile(f"{re.escape(name)}, 10th decile.*px"))
    tile.focus()
    page.keyboard.press("Enter")
    complete(page, name)
    expect(page).to_have_url(address_has(image=quote_plus(name)))
    multiples(page)
    expect(page.locator(f'{TILE}[data-image="{name}"]')).to_have_attribute("aria-pressed", "true")


def test_before_anyone_chose_multiples_are_of_the_head_that_is_shown(
    page: Page, study: Path, study_server: str
) -> None:
    page.goto(study_server)
    complete(page)
    multiples(page)
    shown = text(page, "head").inner_text()
    expect(text(page, "multiples")).to_contain_text(shown)


def test_nothing_moves_while_multiples_are_made(page: Page, study_server: str) -> None:
    page.goto(f"{study_server}/?layer=0&head=0&metric=entropy")
    complete(page)
    panel = multiples(page)
    places = [f"{TILE} >> nth=0", ".hs-panel-multiples", ".hs-known", MAP, '[data-plot="profile"]']
    before = [page.locator(each).bounding_box() for each in places]
    for layer in range(1, 6):
        cell(page, layer, 3).click()
    expect(panel).to_have_attribute("data-state", "waiting")
    assert page.locator(TILE).count() == 10  # the old ones stay
    assert [page.locator(each).bounding_box() for each in places] == before
    multiples(page)
    expect(text(page, "multiples")).to_contain_text("Layer 5, head 3")
    assert [page.locator(each).bounding_box() for each in places] == before


def test_one_picture_says_what_would_bring_multiples(page: Page, server: str) -> None:
    page.goto(f"{server}/?image=scene-8")
    complete(page, "scene-8")
    expect(page.locator('[data-text="multiples-empty"]')).to_contain_text("headscope analyze")
    expect(select(page, "multiples")).to_be_hidden()
    expect(fact(page, "interval")).to_contain_text("no interval")
    expect(fact(page, "nearest-0").locator("button")).to_have_count(3)


@pytest.fixture(scope="module")
def large_server(study: Path, chrome: str) -> Iterator[str]:
    """A server for which maps are too large to travel whole."""
    prepare = "from headscope.app.figures.board import multiples; multiples.MOST_TOKENS = 0"
    with running.serving("--study", str(study), prepare=prepare) as address:
        yield address


def test_of_large_maps_the_query_that_is_drawn_is_brought(page: Page, large_server: str) -> None:
    page.goto(f"{large_server}/?layer=2&head=0&metric=entropy&token=40")
    complete(page)
    multiples(page)
    before = pixels(page, f"{TILE} canvas >> nth=3")
    select(page, "token").select_option("90")
    expect(page.locator(".hs-panel-multiples")).to_have_attribute("data-query", "patch 7, 5")
    multiples(page)
    assert not np.array_equal(pixels(page, f"{TILE} canvas >> nth=3"), before)
