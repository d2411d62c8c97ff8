"""The page in a real Chromium: what changes on it when somebody does something."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.app import running

pytestmark = pytest.mark.browser

SCENE = "scene-8"
MAP, MONTAGE = ".hs-overlay", ".hs-montage"


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """A slow machine computes a study in tens of seconds; a page that is right does not wait."""
    expect.set_options(timeout=60_000)


def photograph(name: str) -> bytes:
    """A sample picture as the file that a user would upload."""
    buffer = io.BytesIO()
    Image.fromarray(hs.sample_images()[name].read().pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(page: Page, name: str, data: bytes) -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files([file])


def complete(page: Page, image: str | None = None) -> None:
    """Wait until maps and numbers are there, of that image."""
    of_image = "" if image is None else f'[data-image="{image}"]'
    page.wait_for_selector(f'.hs-root[data-state="complete"]{of_image}')


def pixels(page: Page, canvas: str) -> np.ndarray:
    address = page.locator(canvas).evaluate("canvas => canvas.toDataURL()")
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def cell(page: Page, layer: int, head: int) -> Locator:
    return page.locator(f'.hs-cell[data-layer="{layer}"][data-head="{head}"]')


def text(page: Page, name: str) -> Locator:
    return page.locator(f'[data-text="{name}"]')


def select(page: Page, name: str) -> Locator:
    return page.locator(f'[data-select="{name}"]')


def click_patch(page: Page, row: int, column: int, *, grid: int = 12) -> None:
    page.locator(MAP).click(position=patch_at(page, row, column, grid=grid))


def patch_at(page: Page, row: int, column: int, *, grid: int = 12) -> dict[str, float]:
    box = page.locator(MAP).bounding_box()
    assert box is not None
    return {"x": (column + 0.5) * box["width"] / grid, "y": (row + 0.5) * box["height"] / grid}


def address_has(**values: object) -> re.Pattern[str]:
    """Matches an address with these values, in any order."""
    each = (rf"(?=.*[?&]{key}={re.escape(str(value))}(&|$))" for key, value in values.items())
    return re.compile(f"^{''.join(each)}.*$")


def profile_bars(page: Page) -> list[float]:
    """Heights of the bars, in pixels."""
    bars = page.locator('[data-plot="profile"] .bars .point path')
    bars.first.wait_for()
    return bars.evaluate_all("bars => bars.map(bar => bar.getBBox().height)")


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
    weights = hs.attention_maps(checkpoint, crop, [(4, 0)])
    to_patches = weights.weights[0, 0, 1:].reshape(12, 12)
    shown = pixels(page, MAP)
    side = shown.shape[0] / 12
    at = ((np.arange(12) + 0.5) * side).astype(int)
    brightness = shown[at][:, at].sum(-1)
    order = np.argsort(to_patches, axis=None)
    assert brightness.flat[order[-1]] == brightness.max()
    assert np.corrcoef(brightness.flat, to_patches.flat)[0, 1] > 0.8
    largest = float(weights.row_max[0, 0] * to_patches.max() / 255)
    stated = float(text(page, "range").inner_text().removesuffix(" %")) / 100
    assert stated == pytest.approx(largest, rel=0.01)


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
    expect(text(page, "numbers")).to_have_text("Not measured")


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


def luminance(page: Page, selector: str, name: str) -> float:
    """Relative luminance (WCAG) of a computed colour, 0…1."""
    channels = page.locator(selector).first.evaluate(
        f"""node => {{
            const canvas = Object.assign(document.createElement("canvas"), {{width: 1, height: 1}});
            const context = canvas.getContext("2d");
            context.fillStyle = getComputedStyle(node).{name};
            context.fillRect(0, 0, 1, 1);
            return Array.from(context.getImageData(0, 0, 1, 1).data);
        }}"""
    )
    share = np.array(channels[:3]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


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
    with running.serving("--study", str(study)) as address:
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
    page: Page, chrome: str
) -> None:
    none_fits = "from headscope.app.figures import maps; maps.MOST_BYTES = 0"
    with running.serving(prepare=none_fits) as address:
        page.goto(f"{address}/?image={SCENE}&layer=4&head=0")
        complete(page, SCENE)
        expect(text(page, "range")).to_contain_text("%")
        expected = hs.load("demo/supervised")
        crop = expected.crop(hs.sample_images()[SCENE].read())
        maps = hs.attention_maps(expected, crop, [(4, 0), (2, 3)])
        token = 1 + 3 * 12 + 10
        for index, (layer, head, query) in enumerate([(4, 0, 0), (2, 3, token)]):
            cell(page, layer, head).click()
            select(page, "token").select_option(str(query))
            row = maps.weights[index, query, 1:] / 255 * maps.row_max[index, query]
            expect(text(page, "range")).to_have_text(f"{100 * row.max():.3g} %")
        assert len(np.unique(pixels(page, MONTAGE).reshape(-1, 3), axis=0)) > 50
        page.goto("about:blank")
