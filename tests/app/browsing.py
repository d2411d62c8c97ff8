"""What the browser tests do to the page, and what they read from it."""

import base64
import io
import re
from urllib.parse import quote_plus

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

import headscope as hs

SCENE = "scene-8"
MAP, MONTAGE = ".hs-overlay", ".hs-montage"


def photograph(name: str) -> bytes:
    """A sample picture as the file that a user would upload."""
    buffer = io.BytesIO()
    Image.fromarray(hs.sample_images()[name].read().pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(page: Page, name: str, data: bytes) -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    place = page.locator('[data-testid="stFileUploaderDropzoneInput"]')
    expect(place).to_have_count(1)  # the one of the upload before is gone
    place.set_input_files([file])


def complete(page: Page, image: str | None = None) -> None:
    """Wait until maps and numbers are there, of that image."""
    of_image = "" if image is None else f'[data-image="{image}"]'
    page.wait_for_selector(f'.hs-root[data-state="complete"]{of_image}')
    expect(page.locator(".hs-root")).to_have_count(1)  # what was there before has gone


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
    """Matches an address with these values, in any order, encoded or as they stand."""
    each = (
        rf"(?=.*[?&]{key}=({re.escape(str(value))}|{re.escape(quote_plus(str(value)))})(&|$))"
        for key, value in values.items()
    )
    return re.compile(f"^{''.join(each)}.*$")


def profile_bars(page: Page) -> list[float]:
    """Heights of the bars, in pixels."""
    bars = page.locator('[data-plot="profile"] .bars .point path')
    bars.first.wait_for()
    return bars.evaluate_all("bars => bars.map(bar => bar.getBBox().height)")


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


def open_part(page: Page, name: str) -> Locator:
    """Opens a part of "In depth", if it is not open; gives the panel."""
    panel = page.locator(".st-key-depth")
    choice = panel.locator(".st-key-depth_parts").get_by_text(name, exact=True)
    choice.click()
    expect(page).to_have_url(address_has(part=name.replace(" ", "+")))
    return panel


def keyed(page: Page, key: str) -> Locator:
    """The widget of that key."""
    return page.locator(f".st-key-{re.sub(r'[^a-zA-Z0-9_-]', '-', key)}")


def press(page: Page, key: str) -> None:
    """Click the button of that key."""
    keyed(page, key).get_by_role("button").first.click()


def segment(page: Page, key: str, option: str) -> None:
    """Choose in a segmented control."""
    chosen = keyed(page, key).get_by_role("radio", name=option, exact=True)
    chosen.or_(keyed(page, key).get_by_role("button", name=option, exact=True)).first.click()


def unfold(control: Locator) -> None:
    """Open a list or a popover.

    It closes when the page scrolls, and Chromium tells of a scroll a frame after it: a click that
    scrolls first would close what it opens. No hand is as fast.
    """
    control.scroll_into_view_if_needed()
    control.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    control.click()


def pick(page: Page, key: str, option: str | re.Pattern[str]) -> None:
    """Choose in a select box, or one more in a multiselect."""
    unfold(keyed(page, key).locator("input"))
    page.get_by_role("option", name=option).first.click()
