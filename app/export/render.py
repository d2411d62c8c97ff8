"""A chart and a sheet to the bytes of a file: the same input, the same bytes.

Kaleido prints with a Chrome that is kept running, one figure at a time. What would differ from
run to run (dates, random names) is replaced, and sizes are made exact.
"""

import atexit
import io
import re
import threading
import warnings
from typing import Any, Literal

import plotly.graph_objects as go
from PIL import Image

from ...models.errors import HeadscopeError
from ..running import find_browser
from .sheet import Sheet
from .style import printed

Format = Literal["pdf", "svg", "png"]
NO_CHROME = (
    "There is no Chrome or Chromium on this machine, which prints the figures: "
    "`apt install chromium` or `plotly_get_chrome` brings one."
)
_LOCK = threading.Lock()
_RUNNING: list[bool] = []


def is_possible() -> bool:
    """Whether there is a Chrome to print with."""
    return _chrome() is not None


def render(figure: go.Figure, sheet: Sheet, form: Format, *, keep_height: bool = False) -> bytes:
    """A chart as a file.

    Args:
        figure: as the page draws it, light or dark.
        sheet: how it is printed.
        form: of the file.
        keep_height: whether the chart's height in pixels is made for its rows.

    Raises:
        HeadscopeError: there is no Chrome, or it does not answer.
    """
    return render_printed(printed(figure, sheet, keep_height=keep_height), sheet, form)


def render_printed(made: go.Figure, sheet: Sheet, form: Format) -> bytes:
    """The same for a chart that `printed` made."""
    width: int = made.layout.width  # pyright: ignore
    height: int = made.layout.height  # pyright: ignore
    points = sheet.width_mm / 25.4 * 72
    dots = round(sheet.width_mm / 25.4 * sheet.dpi)
    scale = dots / width if form == "png" else points / 0.75 / width
    raw = _kaleido(made, {"format": form, "width": width, "height": height, "scale": scale})
    if form == "pdf":
        return _fixed_pdf(raw, points, points * height / width)
    if form == "svg":
        return _fixed_svg(raw, sheet.width_mm, sheet.width_mm * height / width)
    return _fixed_png(raw, (dots, round(dots * height / width)), sheet.dpi)


def stop() -> None:
    """End Chrome; it starts again when it is needed."""
    with _LOCK:
        _stop()


def _stop() -> None:
    if _RUNNING:
        import kaleido

        _RUNNING.clear()
        kaleido.stop_sync_server(silence_warnings=True)


def _chrome() -> str | None:
    found = find_browser()
    if found is None:
        import os

        found = os.environ.get("BROWSER_PATH") or _downloaded()
    return found


def _downloaded() -> str | None:
    """The Chrome that `plotly_get_chrome` brought."""
    try:
        from choreographer.cli._cli_utils import get_chrome_download_path
    except ImportError:
        return None
    path = get_chrome_download_path()
    return str(path) if path is not None and path.exists() else None


def _kaleido(figure: go.Figure, options: dict[str, Any]) -> bytes:
    """What Kaleido makes; where Chrome died in between, once more with another."""
    path = _chrome()
    if path is None:
        raise HeadscopeError(NO_CHROME)
    import kaleido

    with _LOCK:
        for again in (False, True):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    if not _RUNNING:
                        kaleido.start_sync_server(
                            mathjax=False, silence_warnings=True, path=path, timeout=120
                        )
                        _RUNNING.append(True)
                    return bytes(kaleido.calc_fig_sync(figure, opts=options))
            except Exception as error:  # Kaleido's and Chrome's errors have no common class
                _stop()
                if again:
                    raise HeadscopeError(
                        f"Chrome ({path}) could not print the figure: "
                        f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. "
                        "Try again, or install another Chrome."
                    ) from error
    raise AssertionError


atexit.register(stop)


# -- what would differ from run to run -------------------------------------------------------------


def _fixed_pdf(data: bytes, width: float, height: float) -> bytes:
    """The page in its exact size in points, without dates."""
    found = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
    if found is None:
        raise HeadscopeError("Chrome wrote a PDF without a page size; install another Chrome.")
    top = float(found[2])  # whole pixels were added at the right and at the bottom
    box = f"/MediaBox [0 {top - height:.4f} {width:.4f} {top:.4f}]".encode()
    data = data[: found.start()] + box + data[found.end() :]
    data = re.sub(rb"/(CreationDate|ModDate) \(D:[^)]*\)", rb"/\1 (D:20000101000000Z)", data)
    data = re.sub(rb"/Title \(Kaleido[^)]*\)", b"/Title (headscope)", data)
    data = re.sub(rb"/Creator \((?:[^()\\]|\\.)*\)", b"/Creator (headscope)", data)
    return _indexed(data)


def _indexed(data: bytes) -> bytes:
    """A PDF whose table of objects is right after bytes were put in or taken out."""
    body, mark, rest = data.rpartition(b"xref\n0 ")
    # `startxref` ends in the same letters: go back to the table itself.
    if body.endswith(b"start"):
        body, mark, rest = body.rpartition(b"xref\n0 ")
    trailer = rest[rest.index(b"trailer") : rest.index(b"startxref")]
    places = {int(m[1]): m.start(1) for m in re.finditer(rb"(?:^|\n)(\d+) 0 obj\n", body)}
    count = max(places) + 1
    lines = [b"0000000000 65535 f \n"]
    lines += [b"%010d 00000 n \n" % places[number] for number in range(1, count)]
    table = b"xref\n0 %d\n" % count + b"".join(lines)
    _ = mark
    return body + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(body)


def _fixed_svg(data: bytes, width: float, height: float) -> bytes:
    """The drawing in its exact size in millimetres, with names that are no accident."""
    text = data.decode()
    name = re.search(r'id="defs-([0-9a-f]{6})"', text)
    if name is not None:
        text = text.replace(name[1], "figure")
    size = f'width="{width:.4f}mm" height="{height:.4f}mm"'
    text = re.sub(r'(<svg [^>]*?)width="[\d.]+" height="[\d.]+"', rf"\g<1>{size}", text, count=1)
    return text.encode()


def _fixed_png(data: bytes, size: tuple[int, int], dpi: int) -> bytes:
    """The picture with its resolution written in it."""
    image = Image.open(io.BytesIO(data))
    image.load()
    if image.size != size:  # a row of pixels too many or too few, by rounding
        width, height = size
        grown = Image.new(image.mode, size, image.getpixel((image.width - 1, image.height - 1)))
        grown.paste(image.crop((0, 0, min(width, image.width), min(height, image.height))))
        image = grown
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):  # pyright: ignore
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", dpi=(dpi, dpi), optimize=True)
    return buffer.getvalue()
