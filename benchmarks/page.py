"""The page in Chromium: seconds until it can be used, milliseconds from a click to the redraw.

    python benchmarks/page.py [CHECKPOINT] [--clicks N] [--random]

The first number runs from the command to a page with predictions, maps and numbers; the second from
the release of the mouse on a head to the frame in which map, numbers and profile are redrawn.
"""

import argparse
import os
import random
import statistics
import sys
import time
from urllib.parse import urlencode

from playwright.sync_api import Page, sync_playwright

from headscope.app import running

# Two frames: the first callback runs before the redraw is painted, the second after it.
WATCH = """() => {
    window.clickTimes = [];
    document.addEventListener("mouseup", (event) => {
        const title = document.querySelector('[data-text="head"]');
        const before = title.textContent;
        requestAnimationFrame(() => requestAnimationFrame(() => {
            if (title.textContent !== before) clickTimes.push(performance.now() - event.timeStamp);
        }));
    }, true);
}"""


def clicks(page: Page, n: int) -> list[float]:
    """Milliseconds of `n` clicks on heads drawn at random, one after the other has settled."""
    page.evaluate(WATCH)
    cells = page.locator(".hs-cell")
    chosen, order = None, random.Random(0)
    while len(page.evaluate("clickTimes")) < n:
        index = order.choice([i for i in range(cells.count()) if i != chosen])
        cells.nth(index).click()
        page.wait_for_timeout(400)
        chosen = index
    return page.evaluate("clickTimes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", default="demo/supervised")
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--random", action="store_true", help="random weights: no download")
    options = parser.parse_args()
    browser_path = running.find_browser()
    if browser_path is None:
        sys.exit(running.NO_BROWSER)
    wanted = {"checkpoint": options.checkpoint} | ({"weights": "random"} if options.random else {})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=list(running.BROWSER_OPTIONS)
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(1_800_000)
        start = time.perf_counter()
        with running.serving() as address:
            answered = time.perf_counter() - start
            page.goto(f"{address}/?{urlencode(wanted)}")
            page.wait_for_selector('.hs-root:not([data-image=""])')
            shown = time.perf_counter() - start
            page.wait_for_selector('.hs-root[data-state="complete"]')
            complete = time.perf_counter() - start
            page.wait_for_selector('[data-plot="profile"] .bars path')
            n_heads = page.locator(".hs-cell").count()
            times = sorted(clicks(page, options.clicks))
        browser.close()
    p95 = times[min(len(times) - 1, round(0.95 * len(times)))]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.checkpoint}")
    print(f"command → server answers {answered:.1f} s, picture {shown:.1f} s, all {complete:.1f} s")
    print(
        f"click → redraw, {len(times)} clicks on {n_heads} heads: median "
        f"{statistics.median(times):.0f} ms, p95 {p95:.0f} ms, largest {times[-1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
