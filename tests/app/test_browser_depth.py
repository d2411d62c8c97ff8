"""Every control of the parts of "In depth", in a real browser on a study with patterns."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.app import running
from headscope.models.demo import scenes

from .browsing import (
    address_has,
    cell,
    complete,
    keyed,
    open_part,
    photograph,
    pick,
    press,
    segment,
    text,
)

pytestmark = pytest.mark.browser
N_SCENES = 8


@pytest.fixture(scope="module")
def address(chrome: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page on a study of a few scenes by two ablations, with three patterns."""
    path = tmp_path_factory.mktemp("study") / "eight.zarr"
    found = [scenes.scene(seed) for seed in range(N_SCENES)]
    study = hs.analyze(
        hs.load("demo/supervised"),
        [each.image for each in found],
        labels=[each.label for each in found],
        ablations=["zero", "mean"],
        out=path,
    )
    hs.fit_patterns(study, clusters=3, umap=False).save(study)
    with running.serving("--study", str(path)) as address:
        yield address


@pytest.fixture
def opened(new_page: Callable[..., Page], address: str) -> Callable[[str], Page]:
    """A page with one part open, at layer 4, head 1."""

    def at(part: str) -> Page:
        page = new_page()
        page.goto(f"{address}/?layer=4&head=1")
        complete(page)
        open_part(page, part)
        return page

    return at


def panel(page: Page) -> Locator:
    return page.locator(".st-key-depth")


def said(page: Page, words: str | re.Pattern[str]) -> None:
    """Waits until the panel says so; nothing may be wrong in it."""
    expect(panel(page).get_by_text(words).first).to_be_visible()
    expect(
        panel(page).locator('[data-testid="stAlert"], [data-testid="stException"]')
    ).to_have_count(0)


def chart(page: Page, key: str) -> Locator:
    return keyed(page, key).locator(".js-plotly-plot")


def test_ranking(opened: Callable[[str], Page]) -> None:
    page = opened("Ranking")
    said(page, "Is layer 4, head 1 different from its neighbours in rank?")
    pick(page, "depth_metric", re.compile("Jensen.*zero"))
    said(page, "Difference, nats")
    pick(page, "depth_chosen", re.compile("Layer 5, head 2"))
    expect(text(page, "head")).to_have_text("Layer 5, head 2")
    expect(page).to_have_url(address_has(layer=5, head=2, part="Ranking"))
    with page.expect_download() as told:
        panel(page).get_by_role("button", name="Table as CSV").first.click()
    rows = Path(told.value.path()).read_text().splitlines()
    assert len(rows) == 1 + 24


def test_heads_together_and_in_pairs(opened: Callable[[str], Page]) -> None:
    page = opened("Together")
    said(page, re.compile(r"8 images|on 8"))
    pick(page, "depth_value", re.compile("logit", re.IGNORECASE))
    expect(panel(page).locator(".js-plotly-plot").first).to_be_visible()
    open_part(page, "Synergy")
    press(page, "depth_compute synergy") if keyed(page, "depth_compute synergy").count() else None
    expect(panel(page).locator(".js-plotly-plot").first).to_be_visible()


def test_strength(opened: Callable[[str], Page]) -> None:
    page = opened("Strength")
    said(page, "Layer 4, head 1 in numbers")
    axis = chart(page, "strength_profiles").locator(".ytitle").first
    expect(axis).to_contain_text("one patch")
    segment(page, "strength_profile", "sum per hop")
    expect(axis).to_contain_text("all patches")
    pick(page, "strength_metric", "Entropy of attention")
    expect(chart(page, "strength_trend").locator(".ytitle").first).to_contain_text("nats")
    pick(page, "strength_by", "Right and wrong predictions")
    said(page, re.compile("interval over images"))
    cell(page, 2, 0).click()
    said(page, "Layer 2, head 0 in numbers")


def test_sinks(opened: Callable[[str], Page]) -> None:
    page = opened("Sinks")
    said(page, "Layer 4, head 1: what each token gets from all queries")
    go = keyed(page, "asked sinks go")
    expect(go.or_(panel(page).get_by_text("All heads", exact=True)).first).to_be_visible()
    said(page, "These heads have no sink")  # the chosen one
    pick(page, "sinks_which", "All heads")
    said(page, "Prediction for this picture")
    slider = keyed(page, "sinks_kept").get_by_role("slider")
    expect(slider).to_be_disabled()
    keyed(page, "sinks_how").get_by_text("edistributed").click()
    expect(slider).to_be_enabled()
    slider.press("ArrowRight")
    expect(slider).to_have_value("0.65")
    segment(page, "sinks_query", "page's query")
    said(page, "Prediction for this picture")


def test_patterns(opened: Callable[[str], Page]) -> None:
    page = opened("Patterns")
    said(page, re.compile(r"3 patterns"))
    expect(chart(page, "patterns_dots").locator(".xtitle")).to_contain_text("principal component")
    pick(page, "patterns_colour", "Layer")
    expect(chart(page, "patterns_dots").locator(".colorbar, .cbtitle").first).to_be_visible()
    segment(page, "patterns_scale", "each its own")
    first = panel(page).get_by_role("button", name=re.compile(r"^L\d H\d · \d+%$")).first
    layer, head = re.findall(r"\d", first.inner_text())[:2]
    first.click()
    expect(text(page, "head")).to_have_text(f"Layer {layer}, head {head}")
    panel(page).get_by_role("button", name=re.compile(r"Mark \d+ head")).first.click()
    expect(page).to_have_url(re.compile("marked="))
    expect(page.locator(".hs-atlas .hs-marked").first).to_be_visible()
    pick(page, "patterns_how", "2 (k-means)")
    said(page, re.compile(r"2 patterns"))
    expect(keyed(page, "patterns_try")).to_be_visible()
    expect(keyed(page, "patterns_save_button")).to_be_visible()


def test_why(opened: Callable[[str], Page]) -> None:
    page = opened("Why")
    said(page, re.compile("Rank correlation"))
    pick(page, "why_x", "Entropy of attention")
    expect(chart(page, "why").locator(".xtitle").first).to_contain_text("Entropy")
    pick(page, "why_y", re.compile("Jensen.*mean"))
    expect(chart(page, "why").locator(".ytitle").first).to_contain_text("Jensen")
    pick(page, "why_colour", re.compile("^Pattern"))
    expect(chart(page, "why").locator(".legend").first).to_contain_text("chosen")


def test_a_dot_chooses_its_head(opened: Callable[[str], Page]) -> None:
    page = opened("Why")
    dots = chart(page, "why").locator(".scatterlayer .point")
    expect(dots.first).to_be_visible()
    dots.nth(3).click(force=True)
    expect(text(page, "head")).not_to_have_text("Layer 4, head 1")


def test_the_bench(opened: Callable[[str], Page]) -> None:
    page = opened("Explain")
    maps = panel(page).locator("figure.hs-map img")
    expect(maps).to_have_count(4)
    said(page, re.compile("which is"))
    pick(page, "bench_methods", "LeGrad")
    expect(maps).to_have_count(5)
    pick(page, "bench_against", "the runner-up")
    said(page, re.compile("against|runner-up"))
    segment(page, "bench_scale", "by rank")
    expect(panel(page).get_by_text(re.compile("rank|100 %")).first).to_be_visible()
    panel(page).get_by_role("button", name="About").first.click()
    expect(page.locator('[data-testid="stPopoverBody"]')).to_be_visible()
    page.keyboard.press("Escape")


def test_the_questions_of_the_bench(opened: Callable[[str], Page]) -> None:
    page = opened("Explain")
    said(page, re.compile("which is"))
    segment(page, "bench_question", "True to the model?")
    expect(panel(page).locator(".js-plotly-plot").first).to_be_visible()
    pick(page, "bench_fill", re.compile("."))
    panel(page).get_by_role("button", name="Mask of the object").click()
    place = page.locator(
        '[data-testid="stPopoverBody"] [data-testid="stFileUploaderDropzoneInput"]'
    )
    file = {"name": "m.png", "mimeType": "image/png", "buffer": photograph("camera")}
    place.set_input_files([file])
    expect(panel(page).get_by_text(re.compile("the mask that you gave")).first).to_be_visible()
    page.keyboard.press("Escape")
    segment(page, "bench_images", "Images of the study")
    press(page, "bench_compute table")
    expect(panel(page).locator("table.hs-compare").first).to_be_visible()
    segment(page, "bench_question", "Which heads carry it?")
    said(page, re.compile("has the most"))
    segment(page, "bench_question", "How many patches?")
    said(page, "The smallest set that keeps the decision")
