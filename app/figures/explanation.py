"""A map over the picture that it explains, as a sharp image with the ends of its scale."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor

from .palette import payload
from .template import number

SIDE = 384
"""Pixels of the longer side of an image, more or less: whole multiples of the input's."""
_LEAST, _MOST = 0.15, 0.85
"""Share of the map's colour where it is 0, and where it is largest."""
_DIM = 0.75
"""How bright the grey picture is beneath it."""
_SUPERSCRIPT = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: float) -> str:
    """A number of three digits where no markup is read: powers are written as characters."""
    digits, _, power = number(value).partition("<sup>")
    return digits + power.removesuffix("</sup>").translate(_SUPERSCRIPT)


@dataclass(frozen=True)
class Overlay:
    """An image as a data URL, and what its colours mean."""

    source: str
    colours: tuple[str, ...]
    """Of the scale, from `low` to `high`."""
    low: str
    high: str


def overlay(
    pixels: UInt8[np.ndarray, "row column 3"],
    values: Float[np.ndarray, "row column"],
    *,
    signed: bool,
    by_rank: bool = False,
    largest: float | None = None,
    colours: Sequence[str] | None = None,
) -> Overlay:
    """A map over a picture; its cells stay sharp.

    Signed maps have 0 in the middle of their scale. `largest` is the end of the scale, for maps
    that share one; by default each ends at its own largest value. `by_rank` colours cells by the
    rank of their values, so that methods of different units can be set side by side; of the sign
    it keeps which side of 0 a value is on. `colours` are anchors of another scale than the usual.
    """
    finite = np.nan_to_num(values.astype(float))
    end = float(np.abs(finite).max()) if largest is None else largest
    share = ranks(finite, signed=signed) if by_rank else finite / end if end else finite * 0
    share = np.clip(share, -1 if signed else 0, 1)
    colour_of = table(signed=signed, colours=colours)
    place = (share + 1) / 2 if signed else share
    colour = colour_of[np.round(place * (len(colour_of) - 1)).astype(int)]
    opacity = _LEAST + (_MOST - _LEAST) * np.abs(share)
    height, width = pixels.shape[:2]
    times = max(1, round(SIDE / max(height, width)))
    size = (width * times, height * times)
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BICUBIC)
    beneath = np.asarray(grey, float)[..., None] * _DIM
    rows, columns = _spread(height * times, len(values)), _spread(width * times, values.shape[1])
    at = np.ix_(rows, columns)
    mixed = beneath * (1 - opacity[at][..., None]) + colour[at] * opacity[at][..., None]
    source = as_url(Image.fromarray(mixed.round().astype(np.uint8)))
    low, high = ends(end, signed=signed, by_rank=by_rank)
    anchors = payload()["signed" if signed else "attention"] if colours is None else colours
    return Overlay(source, tuple(anchors), low, high)


def as_url(image: Image.Image) -> str:
    """A PNG as a data URL."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def ends(largest: float, *, signed: bool, by_rank: bool = False) -> tuple[str, str]:
    """What stands at both ends of a scale."""
    if by_rank:
        return ("lowest" if signed else "0"), "highest"
    return (plain(-largest) if signed else "0"), plain(largest)


def ranks(values: np.ndarray, *, signed: bool) -> np.ndarray:
    """Ranks among all sizes, 0…1, with the sign; equal values have equal ranks."""
    sizes = np.abs(values) if signed else values - values.min()
    _, place = np.unique(sizes, return_inverse=True)
    ranks = place.reshape(values.shape) / max(1, int(place.max()))
    return np.sign(values) * ranks if signed else ranks


def table(*, signed: bool, colours: Sequence[str] | None = None) -> Float[np.ndarray, "colour 3"]:
    """256 colours between the anchors of a scale."""
    named = payload()["signed" if signed else "attention"] if colours is None else colours
    anchors = np.array([ImageColor.getrgb(colour)[:3] for colour in named], float)
    at = np.linspace(0, len(anchors) - 1, 256)
    return np.stack([np.interp(at, np.arange(len(anchors)), anchors[:, i]) for i in range(3)], 1)


def _spread(n_pixels: int, n_cells: int) -> np.ndarray:
    """The cell of each pixel."""
    return np.minimum((np.arange(n_pixels) + 0.5) * n_cells / n_pixels, n_cells - 1).astype(int)


def card(title: str, drawn: Overlay) -> str:
    """A map under its title, with its scale, as HTML."""
    name, scale = html.escape(title), ", ".join(drawn.colours)
    return (
        f'<figure class="hs-map"><h3 class="hs-depth" title="{name}">{name}</h3>'
        f'<img src="{drawn.source}" alt="{name}">'
        f'<figcaption><span>{drawn.low}</span><i style="background-image: linear-gradient('
        f'to right, {scale})"></i><span>{drawn.high}</span></figcaption></figure>'
    )
