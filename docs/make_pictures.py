"""Makes docs/pictures/*.png from the running app, in light and dark.

    python docs/make_pictures.py

The same machine makes the same bytes again.
"""

import io
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from headscope.app import running

PICTURES = Path(__file__).parent / "pictures"
BOARD = "board"
VIEWS = {
    "page": {"checkpoint": "demo/supervised", "image": "scene-9"},
    "patch": {"checkpoint": "demo/supervised", "image": "scene-9", "token": "79"},
}
"""Addresses, by the name of the picture."""
SAMPLE = {"study": "sample/supervised", "image": "scene-9"}
"""A study of many images, whose board is shown."""
PARTS = {
    "explain": ("Explain", VIEWS["page"]),
    "strength": ("Strength", VIEWS["page"]),
    "sinks": ("Sinks", VIEWS["page"]),
    "what-if": ("What if", {**SAMPLE, "layer": "5", "head": "1", "off": "5.1"}),
    "compare": ("Compare", {**SAMPLE, "against": "sample/masked"}),
    "export": ("Export", SAMPLE),
    "board": (BOARD, SAMPLE),
}
"""Parts of “In depth” or of the board, and their address, by the name of the picture."""
QUIET = 5_000
"""Milliseconds without a running job after which a part is taken to be drawn."""


def picture(browser: Browser, address: str, *, scheme: str, part: str | None = None) -> bytes:
    """The page at an address, or a part of it, as a PNG twice as sharp as a plain screen."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, device_scale_factor=2, color_scheme=scheme
    )
    context.add_init_script(running.NO_TOUR)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector('.hs-root[data-state="complete"]', timeout=120_000)
    page.wait_for_selector('[data-plot="profile"] .bars path')
    page.wait_for_function("document.fonts.status === 'loaded'")
    if part == BOARD:
        page.wait_for_timeout(QUIET)
        page.locator(".hs-board").evaluate("node => node.scrollIntoView()")
    elif part is not None:
        page.locator(".st-key-depth").get_by_role("radio", name=part, exact=True).click()
        page.wait_for_timeout(QUIET)
        page.wait_for_function(
            "!document.querySelector('.st-key-depth [data-testid=stProgress]')", timeout=300_000
        )
        page.locator(".st-key-depth").evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(1500)  # Streamlit fades its own parts in
    png = saved(page)
    context.close()
    return png


def saved(page: Page) -> bytes:
    """What the browser shows, as a PNG of few bytes."""
    png = page.screenshot(animations="disabled", caret="hide")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    browser_path = running.find_browser()
    if browser_path is None:
        sys.exit(running.NO_BROWSER)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, running.serving() as address:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=list(running.BROWSER_OPTIONS)
        )
        wanted = [(name, query, None) for name, query in VIEWS.items()]
        wanted += [(name, query, part) for name, (part, query) in PARTS.items()]
        for name, query, part in wanted:
            for scheme in ("light", "dark"):
                path = PICTURES / f"{name}-{scheme}.png"
                there = f"{address}/?{urlencode(query)}"
                path.write_bytes(picture(browser, there, scheme=scheme, part=part))
                print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
        browser.close()


if __name__ == "__main__":
    main()
