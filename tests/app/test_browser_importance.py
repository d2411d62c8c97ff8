"""The canvas plot and the Importance panel in a real Chromium."""

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from scipy.stats import spearmanr

import headscope as hs
from headscope.analysis.importance.intervals import t_interval

from .board_browsing import (
    N_IMAGES,
    alone,
    board,
    corners,
    encircle,
    left_half,
    on_scenes,
    path,
    place,
    plot,
    study,
    tab,
)
from .browsing import address_has, cell, pixels, select, text

__all__ = ["board", "on_scenes", "path", "study"]
pytestmark = pytest.mark.browser

ZERO, PART = "js_divergence:zero", "js_divergence:class-to-patch"


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
