"""The canvas plot and the Images and Importance panels in a real Chromium."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from scipy.stats import spearmanr

import headscope as hs
from headscope.analysis.importance.intervals import t_interval
from headscope.app import running
from headscope.models.demo.scenes import scene

from .browsing import address_has, cell, complete, pixels, select, text

pytestmark = pytest.mark.browser

N_IMAGES = 12
METRICS = ["probability_drop", "js_divergence", "distance", "entropy"]
ZERO, PART = "js_divergence:zero", "js_divergence:class-to-patch"
SLOW = 300_000
"""Milliseconds: UMAP compiles itself on the first use."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with their labels, the last one's wrong; whole heads and a part of them ablated."""
    checkpoint = hs.load("demo/supervised")
    scenes = [scene(seed) for seed in range(N_IMAGES)]
    pictures = [hs.read_image(each.image, name=f"scene {each.seed}") for each in scenes]
    top = checkpoint.probabilities(checkpoint.batch(pictures)).argmax(-1)
    labels = {f"scene {i}": int(top[i]) for i in range(N_IMAGES - 1)}
    labels[f"scene {N_IMAGES - 1}"] = int(top[-1] + 1) % len(checkpoint.labels)
    path = tmp_path_factory.mktemp("board") / "scenes.zarr"
    hs.analyze(
        checkpoint,
        pictures,
        metrics=METRICS,
        ablations=("zero", "class-to-patch"),
        labels=labels,
        out=path,
    )
    return path


@pytest.fixture(scope="module")
def study(path: Path) -> hs.Study:
    return hs.open_study(path)


@pytest.fixture(scope="module")
def on_scenes(path: Path, chrome: str) -> Iterator[str]:
    with running.serving("--study", str(path)) as address:
        yield address


@pytest.fixture
def board(page: Page, on_scenes: str) -> Page:
    """The page on the scenes, its board in view."""
    page.goto(on_scenes)
    return ready(page)


def ready(page: Page) -> Page:
    complete(page)
    expect(page.locator(".hs-root")).to_have_count(1)  # the one before the maps came is gone
    expect(plot(page, "images")).to_have_attribute("data-marks", str(N_IMAGES))
    expect(plot(page, "scatter")).to_have_attribute("data-marks", "24")
    plot(page, "images").scroll_into_view_if_needed()
    return page


def plot(page: Page, name: str) -> Locator:
    return page.locator(f'[data-plot="{name}"]')


def tab(page: Page, name: str) -> None:
    page.locator(f'[data-switch="importance-tab"] [data-choice="{name}"]').click()


def place(page: Page, name: str, dot: int) -> tuple[float, float]:
    """Where a dot is on the screen."""
    at = plot(page, name).evaluate("(node, dot) => node.plot.placeOf({dot})", dot)
    box = plot(page, name).bounding_box()
    assert box is not None
    return box["x"] + at[0], box["y"] + at[1]


def alone(page: Page, name: str) -> int:
    """The dot that is furthest from all others, so that nothing lies on top of it."""
    return plot(page, name).evaluate(
        """({plot: {px, py}}) => {
            let [best, most] = [0, -1];
            px.forEach((x, i) => {
                const far = Math.min(...Array.from(px, (a, k) =>
                    (k === i ? Infinity : Math.hypot(a - x, py[k] - py[i]))));
                if (far > most) [best, most] = [i, far];
            });
            return best;
        }"""
    )


def corners(page: Page, name: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the left half of a plot, on the screen."""
    area = plot(page, name).evaluate("node => node.plot.area")
    box = plot(page, name).bounding_box()
    assert box is not None
    left, top = box["x"] + area[0] + 1, box["y"] + area[1] + 1
    return left, top, left + area[2] / 2, top + area[3] - 2


def encircle(page: Page, name: str) -> None:
    """Draw a lasso around the left half of a plot."""
    left, top, right, bottom = corners(page, name)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=2)
    page.mouse.up()


def left_half(page: Page, name: str) -> list[int]:
    """The dots that the lasso of `encircle` holds."""
    return plot(page, name).evaluate(
        """({plot: {px, area}}) => Array.from(px.keys()).filter(
            (i) => px[i] > area[0] + 1 && px[i] < area[0] + 1 + area[2] / 2)"""
    )


# -- the plot --------------------------------------------------------------------------------------


def test_the_nearest_of_many_dots_is_found(board: Page) -> None:
    found = plot(board, "scatter").evaluate(
        """({plot}) => {
            let seed = 1;
            const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
            const many = (n) => Float32Array.from({length: n}, random);
            const made = new plot.constructor(plot.app, {name: "many", label: "Many"});
            const frame = Object.assign(document.createElement("div"));
            frame.style.cssText = "position: fixed; left: 0; top: 0; width: 500px; height: 300px";
            frame.append(made.node);
            document.querySelector(".hs-root").append(frame);
            const [x, y] = [many(50000), many(50000)];
            x[7] = NaN;
            const bare = {bare: true};
            made.show({x: bare, y: bare, dots: {x, y, colour: "#0b63ce"}});
            const wrong = [];
            for (let k = 0; k < 200; k += 1) {
                const [a, b] = [20 + 460 * random(), 20 + 260 * random()];
                let [best, least] = [null, Infinity];
                made.px.forEach((px, i) => {
                    const far = (px - a) ** 2 + (made.py[i] - b) ** 2;
                    if (far <= least) [best, least] = [i, far];
                });
                if (made.markAt(a, b).dot !== best) wrong.push([a, b]);
            }
            const box = [[100, 50], [300, 50], [300, 200], [100, 200]];
            const inside = made.dotsWithin(box);
            const expected = Array.from(made.px.keys()).filter((i) => made.px[i] > 100
                && made.px[i] < 300 && made.py[i] > 50 && made.py[i] < 200);
            const painted = made.marks.getContext("2d").getImageData(0, 0, 500, 300).data;
            const covered = painted.filter((value, i) => i % 4 === 3 && value > 0).length;
            const answer = {wrong, drawn: made.nDrawn, same: inside.join() === expected.join(),
                inside: inside.length, covered, at: made.placeOf({dot: 7})};
            made.close();
            frame.remove();
            return answer;
        }"""
    )
    assert found["wrong"] == []
    assert found["drawn"] == 49_999
    assert found["at"] is None
    assert found["same"]
    assert found["inside"] > 10_000
    assert found["covered"] > 100_000  # of 150,000 pixels


def test_zoom_and_back(board: Page) -> None:
    whole = plot(board, "scatter").get_by_role("button", name="Show all")
    expect(whole).to_be_hidden()
    before = plot(board, "scatter").evaluate("node => node.plot.x.high - node.plot.x.low")
    board.locator('[data-switch="scatter-drag"] [data-choice="zoom"]').click()
    left, top, right, bottom = corners(board, "scatter")
    board.mouse.move(left, top)
    board.mouse.down()
    board.mouse.move(right, bottom, steps=3)
    board.mouse.up()
    expect(whole).to_be_visible()
    after = plot(board, "scatter").evaluate("node => node.plot.x.high - node.plot.x.low")
    assert after == pytest.approx(before / 2, rel=0.05)
    assert "marked" not in board.url
    whole.click()
    expect(whole).to_be_hidden()
    plot(board, "scatter").focus()
    for key, hidden in (("+", False), ("-", False), ("0", True)):
        board.keyboard.press(key)
        expect(whole).to_be_hidden() if hidden else expect(whole).to_be_visible()
    box = plot(board, "scatter").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    board.mouse.move(*middle)
    board.keyboard.down("Control")
    board.mouse.wheel(0, -200)
    board.keyboard.up("Control")
    expect(whole).to_be_visible()
    board.mouse.dblclick(*middle)
    expect(whole).to_be_hidden()


# -- importance ------------------------------------------------------------------------------------


def test_a_click_on_a_dot_chooses_its_head(board: Page, study: hs.Study) -> None:
    dot = alone(board, "scatter")
    layer, head = divmod(dot, 4)
    board.mouse.move(*place(board, "scatter", dot))
    expect(board.locator(".hs-tooltip")).to_contain_text(f"Layer {layer}, head {head}")
    marks = pixels(board, '[data-plot="scatter"] .hs-plot-marks')
    over = pixels(board, '[data-plot="scatter"] .hs-plot-over')
    other = 0 if dot else 5
    cell(board, other // 4, other % 4).click()
    expect(text(board, "head")).to_have_text(f"Layer {other // 4}, head {other % 4}")
    assert (pixels(board, '[data-plot="scatter"] .hs-plot-marks') == marks).all()
    assert (pixels(board, '[data-plot="scatter"] .hs-plot-over') != over).any()
    plot(board, "scatter").scroll_into_view_if_needed()
    board.mouse.click(*place(board, "scatter", dot))
    expect(text(board, "head")).to_have_text(f"Layer {layer}, head {head}")
    expect(board).to_have_url(address_has(layer=layer, head=head))


def test_a_lasso_marks_heads_and_keys_move_between_them(board: Page) -> None:
    expected = left_half(board, "scatter")
    assert 0 < len(expected) < 24
    encircle(board, "scatter")
    names = ",".join(f"{dot // 4}.{dot % 4}" for dot in expected)
    expect(board).to_have_url(address_has(marked=names.replace(",", "%2C")))
    expect(board.locator(".hs-atlas .hs-marked")).to_have_count(len(expected))
    dot = alone(board, "scatter")
    board.keyboard.down("Shift")
    board.mouse.click(*place(board, "scatter", dot))
    board.keyboard.up("Shift")
    more = 1 if dot not in expected else -1
    expect(board.locator(".hs-atlas .hs-marked")).to_have_count(len(expected) + more)
    plot(board, "scatter").focus()
    board.keyboard.press("ArrowRight")
    said = plot(board, "scatter").locator(".hs-plot-said")
    expect(said).to_contain_text("layer ")
    first = said.inner_text()
    here = plot(board, "scatter").evaluate("({plot}) => plot.px[plot.cursor.dot]")
    board.keyboard.press("ArrowLeft" if here > 300 else "ArrowRight")
    expect(said).not_to_have_text(first)
    words = said.inner_text().split(":")[0]
    board.keyboard.press("Enter")
    expect(text(board, "head")).to_have_text(words[0].upper() + words[1:])


def test_axes_colour_and_scale_of_the_scatter(board: Page, study: hs.Study) -> None:
    select(board, "scatter-x").select_option("entropy")
    select(board, "scatter-y").select_option(ZERO)
    board.locator('[data-choice="mean"]', has_text=f"Mean of {N_IMAGES}").click()
    entropy = study.data["entropy"].values.astype(float).mean(0).ravel()
    js = study.data["js_divergence"].sel(ablation="zero").values.astype(float).mean(0).ravel()
    rho = spearmanr(entropy, js).statistic
    expect(text(board, "scatter-note")).to_contain_text(
        f"Spearman's ρ = {f'{rho:.2f}'.replace('-', '−')} over 24 heads, mean over 12 images"
    )
    drawn = plot(board, "scatter").evaluate("({plot}) => Array.from(plot.spec.dots.x)")
    np.testing.assert_allclose(drawn, entropy, rtol=1e-5)  # six digits are sent
    scale = board.locator('[data-switch="scatter-scale"]')
    scale.locator('[data-choice="log"]').click()
    expect(scale.locator('[data-choice="log"]')).to_have_attribute("aria-pressed", "true")
    ends = plot(board, "scatter").evaluate("({plot}) => [plot.y.log, plot.y.at(plot.y.low)]")
    assert ends[0]
    scale.locator('[data-choice="linear"]').click()
    legend = board.locator('.hs-panel-importance [data-text="legend"]')
    select(board, "scatter-colour").select_option("layer")
    expect(legend).to_contain_text("layer")
    before = pixels(board, '[data-plot="scatter"] .hs-plot-marks')
    select(board, "scatter-colour").select_option("distance")
    expect(legend).to_contain_text("px")
    assert (pixels(board, '[data-plot="scatter"] .hs-plot-marks') != before).any()
    select(board, "scatter-x").select_option("atlas")
    select(board, "metric").select_option("distance")
    expect(text(board, "scatter-note")).to_contain_text("Spearman")
    assert "distance" in plot(board, "scatter").evaluate("({plot}) => plot.spec.keep")


def test_the_ranking_has_intervals_and_the_chosen_head(board: Page, study: hs.Study) -> None:
    tab(board, "ranking")
    select(board, "metric").select_option(ZERO)
    board.locator('[data-choice="mean"]', has_text=f"Mean of {N_IMAGES}").click()
    scores = study.data["js_divergence"].sel(ablation="zero").values.astype(float)
    mean = scores.mean(0).ravel()
    order = np.argsort(-mean, kind="stable")
    rows = text(board, "ranking").get_by_role("option")
    expect(rows.first).to_contain_text(f"L{order[0] // 4} H{order[0] % 4}")
    expect(text(board, "ranking-note")).to_contain_text(
        f"mean over {N_IMAGES} images; line: its 95 % interval"
    )
    low = t_interval(scores).low.ravel()[order[0]]
    said = rows.first.get_attribute("aria-label") or ""
    said_low = float(said.split("interval ")[1].split(" to")[0].replace("−", "-"))
    assert said_low == pytest.approx(low, abs=0.01 * mean.max())
    last = int(order[-1])
    cell(board, last // 4, last % 4).click()
    expect(rows).to_have_count(21)
    expect(rows.last).to_have_attribute("aria-selected", "true")
    expect(rows.last).to_contain_text(f"L{last // 4} H{last % 4}")
    second = int(order[1])
    rows.nth(1).click()
    expect(text(board, "head")).to_have_text(f"Layer {second // 4}, head {second % 4}")
    expect(rows).to_have_count(20)
    third = int(order[2])
    rows.nth(1).focus()
    board.keyboard.press("ArrowDown")
    expect(text(board, "head")).to_have_text(f"Layer {third // 4}, head {third % 4}")
    rows.nth(4).click(modifiers=["Shift"])
    expect(text(board, "ranking").locator(".hs-importance-marked")).to_have_count(1)


def test_parts_of_the_chosen_head(board: Page, study: hs.Study) -> None:
    tab(board, "parts")
    cell(board, 4, 2).click()
    select(board, "metric").select_option(ZERO)
    expect(text(board, "parts-title")).to_contain_text("layer 4, head 2")
    board.locator('[data-choice="mean"]', has_text=f"Mean of {N_IMAGES}").click()
    scores = study.data["js_divergence"].sel(ablation="class-to-patch").values.astype(float)
    row = board.locator('[data-part="class-to-patch"]')
    shown = row.locator(".hs-value")
    expect(shown).to_contain_text(" to ")
    value = float(shown.inner_text().split(" (")[0].replace("−", "-").replace("≈ 0", "0"))
    assert value == pytest.approx(scores[:, 4, 2].mean(), abs=0.01)
    expect(row).to_contain_text("part")
    expect(board.locator('[data-part="zero"]')).to_contain_text("whole head")
    expect(text(board, "parts-missing")).to_be_hidden()
    row.click()
    expect(select(board, "metric")).to_have_value(PART)


# -- images ----------------------------------------------------------------------------------------


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
    expect(text(page, "images-empty")).to_contain_text("headscope analyze FOLDER", timeout=SLOW)
    tab(page, "parts")
    expect(text(page, "parts-command")).to_contain_text("class-to-patch", timeout=SLOW)
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
