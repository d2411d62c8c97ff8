"""A page on a few scenes, and what the tests of its board do there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

import headscope as hs
from headscope.app import running
from headscope.models.demo.scenes import scene

from .browsing import complete

N_IMAGES = 12
METRICS = ["probability_drop", "js_divergence", "distance", "entropy"]


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
