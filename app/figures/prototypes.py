"""Maps in their common form, drawn small and sharp: prototypes, medoids, reconstructions."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float
from PIL import Image
from plotly.colors import sample_colorscale

from .palette import ATTENTION
from .template import FONT, colours

PANEL = 140
"""Units of a panel's side in the drawing."""
_LEFT, _TOP, _GAP, _BELOW, _LAST = 66, 20, 50, 24, 34


@dataclass(frozen=True)
class Axes:
    """What the places of a channel are."""

    title: str
    x: str
    y: str
    ticks: tuple[tuple[float, str], ...]
    """Place along the axis in cells, and the words there."""


FORM_AXES: dict[str, tuple[Axes, ...]] = {
    "offset": (
        Axes(
            "Where patches look",
            "columns from the query",
            "rows from the query",
            ((1.5, "−far"), (3.5, "−2"), (5.5, "0"), (7.5, "2"), (9.5, "far")),
        ),
        Axes(
            "Attention received",
            "across the image",
            "down the image",
            ((0.5, "0"), (5.5, "½"), (10.5, "1")),
        ),
    ),
    "raw": (
        Axes(
            "Region to region",
            "to region (in reading order)",
            "from region",
            ((0.5, "1"), (4.5, "5"), (8.5, "9"), (12.5, "13"), (15.5, "16")),
        ),
    ),
}
"""By form of the maps."""


def tops(maps: Sequence[Float[np.ndarray, "channel row column"]]) -> list[float]:
    """The largest share of each channel over all maps: the end of their common scale."""
    return [
        float(np.max([each[channel] for each in maps])) or 1.0 for channel in range(len(maps[0]))
    ]


def drawing(
    rows: Sequence[tuple[str, Float[np.ndarray, "channel row column"]]],
    form: str,
    ends: Sequence[float],
    *,
    dark: bool = False,
) -> str:
    """Maps below each other, their channels beside each other, as a data URL.

    Colours grow with the square root of the share up to `ends`, one of each channel.
    """
    paint = colours(dark=dark)
    axes = FORM_AXES[form]
    width = _LEFT + len(axes) * PANEL + (len(axes) - 1) * _GAP + 6
    height = _TOP + len(rows) * (PANEL + _BELOW) - _BELOW + _LAST
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="{escape(FONT, quote=True)}" font-size="10.5" '
        f'fill="{paint.faint}">'
    ]
    for channel, axis in enumerate(axes):
        left = _LEFT + channel * (PANEL + _GAP)
        parts.append(
            f'<text x="{left}" y="12" fill="{paint.text}" font-size="11.5">{axis.title}</text>'
        )
        for place, (_, values) in enumerate(rows):
            top = _TOP + place * (PANEL + _BELOW)
            parts.append(_panel(values[channel], ends[channel], axis, form, (left, top)))
        parts.append(
            f'<text x="{left + PANEL / 2}" y="{height - 8}" text-anchor="middle">{axis.x}</text>'
        )
    for place, (label, _) in enumerate(rows):
        y = _TOP + place * (PANEL + _BELOW) + PANEL / 2
        parts.append(
            f'<text x="14" y="{y}" text-anchor="middle" fill="{paint.text}" font-size="11.5" '
            f'transform="rotate(-90 14 {y})">{escape(label)}</text>'
        )
    drawn = "".join([*parts, "</svg>"])
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()


def _panel(
    values: Float[np.ndarray, "row column"],
    end: float,
    axis: Axes,
    form: str,
    at: tuple[int, int],
) -> str:
    left, top = at
    cell = PANEL / values.shape[1]
    parts = [
        f'<image x="{left}" y="{top}" width="{PANEL}" height="{PANEL}" '
        f'preserveAspectRatio="none" href="{_image(values, end)}"/>'
    ]
    if form == "offset" and axis is FORM_AXES["offset"][0]:
        middle = PANEL / 2 - cell / 2
        parts.append(
            f'<rect x="{left + middle}" y="{top + middle}" width="{cell}" height="{cell}" '
            'fill="none" stroke="#ffffff" stroke-width="1"/>'
        )
    for place, words in axis.ticks:
        parts.append(
            f'<text x="{left + place * cell:.1f}" y="{top + PANEL + 12}" '
            f'text-anchor="middle">{words}</text>'
            f'<text x="{left - 4}" y="{top + place * cell + 3.5:.1f}" '
            f'text-anchor="end">{words}</text>'
        )
    y = top + PANEL / 2
    parts.append(
        f'<text x="{left - 31}" y="{y}" text-anchor="middle" '
        f'transform="rotate(-90 {left - 31} {y})">{axis.y}</text>'
    )
    return "".join(parts)


def _image(values: Float[np.ndarray, "row column"], end: float) -> str:
    """Cells as a picture in whole multiples of them, so that they stay sharp."""
    table = np.array(sample_colorscale(list(ATTENTION), 256, colortype="tuple")) * 255
    share = np.sqrt(np.clip(np.nan_to_num(values.astype(float)) / end, 0, 1))
    pixels = table[np.round(share * (len(table) - 1)).astype(int)].round().astype(np.uint8)
    times = max(1, round(3 * PANEL / len(values)))
    pixels = np.kron(pixels, np.ones((times, times, 1), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
