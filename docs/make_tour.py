"""Makes docs/tour/: what a newcomer does, click by click, as pictures with a line each.

    python docs/make_tour.py

Everything is done by clicks and keys in a real browser; nothing is set up but the server.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path

from make_pictures import saved  # pyright: ignore[reportMissingImports]
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

import headscope as hs
from headscope.app import running

TOUR = Path(__file__).parent / "tour"
PATIENCE = 40_000


def complete(page: Page) -> None:
    page.wait_for_selector('.hs-root[data-state="complete"]')
    page.wait_for_selector('[data-plot="profile"] .bars path')


def part(page: Page, name: str) -> None:
    """Open a part below the plots, and wait until it rests."""
    panel = page.locator(".st-key-depth")
    panel.locator(".st-key-depth_parts").get_by_text(name, exact=True).click()
    page.wait_for_timeout(4_000)
    panel.evaluate("node => node.scrollIntoView()")


def opened(page: Page) -> None:
    complete(page)


def uploaded(page: Page) -> None:
    page.keyboard.press("Escape")  # the tour of a first visit
    buffer = io.BytesIO()
    Image.fromarray(hs.sample_images()["coffee"].read().pixels).save(buffer, "PNG")
    file = {"name": "my coffee.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.locator('[data-testid="stFileUploaderDropzoneInput"]').set_input_files([file])
    page.wait_for_selector('.hs-root[data-state="complete"][data-image="my coffee.png"]')
    page.wait_for_timeout(1_000)


def important(page: Page) -> None:
    board = page.locator('[data-panel="importance"]')
    board.locator('[data-choice="ranking"]').click()
    board.evaluate("node => node.scrollIntoView()")
    board.get_by_role("option").first.click()


def why(page: Page) -> None:
    part(page, "Explain")
    expect(page.locator(".st-key-depth figure.hs-map img")).to_have_count(4)
    page.locator(".st-key-depth").evaluate("node => node.scrollIntoView()")


def switched_off(page: Page) -> None:
    part(page, "What if")
    page.get_by_role("button", name="Switch off the chosen head").click()
    page.get_by_text("1 head off").wait_for()
    page.wait_for_timeout(2_000)
    page.locator(".st-key-depth").evaluate("node => node.scrollIntoView()")


def compared(page: Page) -> None:
    page.locator(".st-key-checkpoints input").click()
    page.get_by_role("option", name="demo/supervised, 60").first.click()
    page.wait_for_selector('.hs-root[data-state="complete"][data-image="scene-0"]')
    page.wait_for_timeout(3_000)
    part(page, "Compare")
    page.locator(".st-key-depth .js-plotly-plot").first.wait_for()
    page.wait_for_timeout(1_500)
    page.locator(".st-key-depth").evaluate("node => node.scrollIntoView()")


def exported(page: Page) -> None:
    part(page, "Export")
    with page.expect_download() as told:
        page.locator(".st-key-depth").get_by_role("button", name="PDF").click()
    assert Path(told.value.path()).read_bytes().startswith(b"%PDF")


STEPS: dict[str, tuple[Callable[[Page], None], str]] = {
    "open": (opened, "`headscope` opens the page; three steps say where things are."),
    "upload": (uploaded, "Upload a photograph: the model looks at it, and every head is measured."),
    "find": (important, "Find the most important head: *Importance*, *Ranking*, the first row."),
    "why": (why, "See why: *Explain* sets what speaks for the decision side by side."),
    "switch-off": (
        switched_off,
        "Switch it off: prediction, maps and explanation, before and after.",
    ),
    "compare": (compared, "Compare `demo/supervised` with `demo/masked` on the same 60 scenes."),
    "export": (exported, "Export the figure at a journal's column width, as PDF, with its data."),
}


def main() -> None:
    browser_path = running.find_browser()
    if browser_path is None:
        sys.exit(running.NO_BROWSER)
    TOUR.mkdir(exist_ok=True)
    lines = [
        "# A tour by someone new",
        "",
        "Made by `python docs/make_tour.py`, by clicks alone.",
        "",
    ]
    with sync_playwright() as playwright, running.serving() as address:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=list(running.BROWSER_OPTIONS)
        )

        def visitor() -> Page:
            context = browser.new_context(
                viewport={"width": 1280, "height": 800}, device_scale_factor=1.5
            )
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            return page

        def keep(page: Page, number: int, name: str, words: str) -> None:
            path = TOUR / f"{number}-{name}.png"
            page.wait_for_timeout(1_000)
            path.write_bytes(saved(page))
            lines.extend([f"{number}. {words}", "", f"![{name}]({path.name})", ""])
            print(path, flush=True)

        expect.set_options(timeout=PATIENCE)
        page = visitor()
        page.goto(address)
        for number, (name, (step, words)) in enumerate(STEPS.items(), start=1):
            step(page)
            keep(page, number, name, words)
        link, last = page.url, len(STEPS) + 1
        again = visitor()
        again.add_init_script(running.NO_TOUR)
        again.goto(link)
        complete(again)
        part_of = again.locator(".st-key-depth")
        part_of.get_by_role("button", name="PDF").wait_for()
        part_of.evaluate("node => node.scrollIntoView()")
        keep(again, last, "reopen", "Reopen it from its link: the address holds the whole view.")
        browser.close()
    (TOUR / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
