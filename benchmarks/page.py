"""The page in Chromium: seconds until it can be used, milliseconds from a click to the redraw.

    python benchmarks/page.py [--clicks N] [--images N] [--points N]

Three parts, each on a server of its own:

- from the command to a page of a demo checkpoint with its picture, maps and numbers;
- from the command, and from the address alone, to the page of an existing study
  (`sample/supervised`): numbers, then maps;
- on a study shaped as ViT-B/16 (random weights, 144 heads): from the release of the mouse on a head
  of the atlas to the second frame after all linked plots (atlas, maps, head card and every panel of
  the board that is there) have been redrawn, and from a move of the pointer to a preview; then the
  same with a study of `--points` images, whose numbers are those of the sample study's images, each
  drawn many times and spread a little, for plots that draw a dot for every image.

The page tells each redraw in `.hs-root[data-drawn]`, which is set when the last panel has drawn.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from playwright.sync_api import Browser, Page, sync_playwright

import headscope as hs
from headscope.app import running

# A redraw ends in a change of data-drawn. Two frames after the last one: the first callback runs
# before that redraw is painted, the second after it.
WATCH = """() => {
    window.clickTimes = [];
    const root = document.querySelector(".hs-root");
    let released = null;
    document.addEventListener("mouseup", (event) => {
        const started = event.timeStamp;
        released = started;
        const before = `${root.dataset.layer}.${root.dataset.head}`;
        const seen = new MutationObserver(() => {
            if (`${root.dataset.layer}.${root.dataset.head}` === before) return;
            seen.disconnect();
            requestAnimationFrame(() => requestAnimationFrame(() => {
                if (released === started) clickTimes.push(performance.now() - started);
            }));
        });
        seen.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
    }, true);
    window.hoverTimes = [];
    document.querySelector(".hs-overlay").addEventListener("pointermove", (event) => {
        const started = event.timeStamp, said = document.querySelector('[data-text="query"]');
        const before = said.textContent;
        const look = (frames) => requestAnimationFrame(() => {
            if (said.textContent !== before) {
                requestAnimationFrame(() => hoverTimes.push(performance.now() - started));
            } else if (frames > 0) look(frames - 1);
        });
        look(20);
    }, true);
}"""


def clicks(page: Page, n: int) -> list[float]:
    """Milliseconds of `n` clicks on heads drawn at random, one after the other has settled."""
    cells = page.locator(".hs-cell")
    chosen, order = None, random.Random(0)
    while len(page.evaluate("clickTimes")) < n:
        index = order.choice([i for i in range(cells.count()) if i != chosen])
        cells.nth(index).click()
        page.wait_for_timeout(500)
        chosen = index
    return sorted(page.evaluate("clickTimes"))


def hovers(page: Page, n: int) -> list[float]:
    """Milliseconds of moves over patches of the map, to the preview."""
    box = page.locator(".hs-overlay").bounding_box()
    assert box is not None
    order = random.Random(0)
    for _ in range(n):
        page.mouse.move(
            box["x"] + order.uniform(0.05, 0.95) * box["width"],
            box["y"] + order.uniform(0.05, 0.95) * box["height"],
        )
        page.wait_for_timeout(250)
    return sorted(page.evaluate("hoverTimes"))


def described(times: list[float]) -> str:
    if not times:
        return "not measured: nothing was shown"
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    return f"median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms, n = {len(times)}"


def opened(browser: Browser) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(running.NO_TOUR)
    page = context.new_page()
    page.set_default_timeout(1_800_000)
    return page


def start(browser: Browser, *arguments: str, query: str = "") -> None:
    """Seconds from the command, and from a second visit's address, to a usable page."""
    began = time.perf_counter()
    with running.serving(*arguments) as address:
        told = {"server answers": time.perf_counter() - began}
        for visit in ("command", "a second visit"):
            if visit != "command":
                began = time.perf_counter()
            page = opened(browser)
            page.goto(f"{address}/{query}")
            page.wait_for_selector(".hs-rank, .hs-cell")
            told[f"{visit} → atlas"] = time.perf_counter() - began
            page.wait_for_selector('.hs-root:not([data-image=""])[data-image]')
            told[f"{visit} → picture"] = time.perf_counter() - began
            page.wait_for_selector('.hs-root[data-state="complete"]')
            told[f"{visit} → picture, maps, numbers"] = time.perf_counter() - began
            requests = page.evaluate(
                "performance.getEntriesByType('resource').map(r => [r.transferSize, r.name])"
            )
            told[f"{visit}: requests"] = len(requests)
            told[f"{visit}: MB"] = sum(size for size, _ in requests) / 1e6
            page.context.close()
    print(" ".join(arguments) or "demo/supervised")
    for what, value in told.items():
        print(f"  {what}: {value:.1f}")


def redraws(browser: Browser, study: Path, n_clicks: int) -> None:
    """Click and hover on the page of a study."""
    with running.serving("--study", str(study)) as address:
        page = opened(browser)
        page.goto(address)
        page.wait_for_selector('.hs-root[data-state="complete"]')
        page.wait_for_selector('[data-plot="profile"] .bars path')
        page.wait_for_timeout(3000)
        page.evaluate(WATCH)
        panels = page.locator(".hs-board [data-panel]").evaluate_all(
            "nodes => nodes.map(node => node.dataset.panel)"
        )
        n_heads = page.locator(".hs-cell").count()
        drawn = ", ".join(["atlas", "maps", "card", *panels])
        print(f"{study.name}: {n_heads} heads; {drawn}")
        print(f"  click → all redrawn: {described(clicks(page, n_clicks))}")
        print(f"  pointer → preview: {described(hovers(page, n_clicks))}")
        page.context.close()


def shaped_as_vit_b(folder: Path, n_images: int) -> Path:
    """A study of a ViT-B/16 with random weights, on samples."""
    checkpoint = hs.load("vit_base_patch16_224", pretrained=False)
    photographs = [sample.read() for sample in hs.sample_images().values()][:n_images]
    path = folder / "vit-b16.zarr"
    hs.analyze(checkpoint, photographs, importance=False, out=path)
    return path


def with_many_images(folder: Path, n_points: int) -> Path:
    """The sample study with its numbers many times over, each a little different; the pixels of
    all but its own images are black, and offset maps are left out, which would be gigabytes.
    """
    from headscope.app.studies import samples

    source = zarr.open_group(
        hs.open_study(samples()["sample/supervised"]).save(folder / "sample.zarr").path, mode="r"
    )
    path = folder / "many.zarr"
    target = zarr.open_group(path, mode="w", zarr_format=3)
    target.update_attributes(dict(source.attrs))
    rng = np.random.default_rng(0)
    variables = json.loads(str(source.attrs["variables"]))
    target.update_attributes({"variables": json.dumps([v for v in variables if v != "offset_map"])})
    for name, array in source.arrays():
        dims: Any = array.metadata.dimension_names  # pyright: ignore
        if name == "offset_map":
            continue
        values = np.asarray(array[...])
        if name in ("image", "image_digest"):
            values = np.array([str(i) for i in range(n_points)], dtype=object)
        elif name == "pixels":
            whole = np.zeros((n_points, *values.shape[1:]), np.uint8)
            whole[: len(values)] = values
            values = whole
        elif dims[0] == "image":
            values = values[rng.integers(len(values), size=n_points)]
            if values.dtype == np.float32:
                values = values * rng.normal(1, 0.1, (n_points, *(1,) * (values.ndim - 1)))
        copy = target.create_array(
            name,
            shape=values.shape,
            dtype=array.dtype,
            chunks=(min(500, len(values)), *values.shape[1:]),
            dimension_names=dims,
            fill_value=array.fill_value,
            attributes=dict(array.attrs),
            config={"write_empty_chunks": True},
        )
        copy[...] = values
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--images", type=int, default=6, help="of the study shaped as ViT-B/16")
    parser.add_argument("--points", type=int, default=50_000, help="0 leaves that part out")
    parser.add_argument("--only", choices=("start", "redraw"), help="one part")
    options = parser.parse_args()
    browser_path = running.find_browser()
    if browser_path is None:
        sys.exit(running.NO_BROWSER)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=list(running.BROWSER_OPTIONS)
        )
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        if options.only != "redraw":
            start(browser)
            start(browser, "--study", "sample/supervised")
        if options.only != "start":
            redraws(browser, shaped_as_vit_b(Path(folder), options.images), options.clicks)
            if options.points:
                many = with_many_images(Path(folder), options.points)
                redraws(browser, many, options.clicks)
        browser.close()


if __name__ == "__main__":
    main()
