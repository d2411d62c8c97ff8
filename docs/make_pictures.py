"""Makes docs/pictures/*.png from the running app, in light and dark.

    python docs/make_pictures.py

The same machine makes the same bytes again.
"""

import io
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from headscope.app import running

PICTURES = Path(__file__).parent / "pictures"
VIEWS = {
    "page": {"checkpoint": "demo/supervised", "image": "scene-9"},
    "patch": {"checkpoint": "demo/supervised", "image": "scene-9", "token": "79"},
}
"""Addresses, by the name of the picture."""
PARTS = {"explain": "Explain", "strength": "Strength", "sinks": "Sinks"}
"""Parts of “In depth”, by the name of the picture, of the first view."""
QUIET = 4_000
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
    if part is not None:
        page.locator(".st-key-depth").get_by_role("radio", name=part, exact=True).click()
        page.wait_for_timeout(QUIET)
        page.wait_for_function(
            "!document.querySelector('.st-key-depth [data-testid=stProgress]')", timeout=300_000
        )
        page.locator(".st-key-depth").evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(1500)  # Streamlit fades its own parts in
    png = page.screenshot(animations="disabled", caret="hide")
    context.close()
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
        first = next(iter(VIEWS.values()))
        wanted = [(name, query, None) for name, query in VIEWS.items()]
        wanted += [(name, first, part) for name, part in PARTS.items()]
        for name, query, part in wanted:
            for scheme in ("light", "dark"):
                path = PICTURES / f"{name}-{scheme}.png"
                there = f"{address}/?{urlencode(query)}"
                path.write_bytes(picture(browser, there, scheme=scheme, part=part))
                print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
        browser.close()


if __name__ == "__main__":
    main()
