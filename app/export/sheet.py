"""The settings of a printed figure, as a journal states them."""

import re
from dataclasses import dataclass
from typing import Any

from plotly.colors import diverging, sequential

from ...models.errors import HeadscopeError

PRESETS = ("89mm", "183mm", "3.5in", "7.16in")
"""Widths of one and two columns: Nature's, and IEEE's."""
FORMATS = ("pdf", "svg", "png", "csv")
FONTS = {
    "sans": "'Liberation Sans', Arial, Helvetica, sans-serif",
    "arial": "Arial, 'Liberation Sans', Helvetica, sans-serif",
    "helvetica": "Helvetica, 'Liberation Sans', Arial, sans-serif",
    "serif": "'Liberation Serif', 'Times New Roman', Times, serif",
}
NUMBERS: dict[str, tuple[str, ...]] = {
    "viridis": tuple(sequential.Viridis),
    "cividis": tuple(sequential.Cividis),
    "inferno": tuple(sequential.Inferno),
    "greys": tuple(sequential.Greys),
}
"""Colours of what has no sign; all even in lightness, so that the colour-blind and a black and
white print keep the order."""
SIGNED: dict[str, tuple[str, ...]] = {
    "puor": tuple(diverging.PuOr_r),
    "rdbu": tuple(diverging.RdBu_r),
    "brbg": tuple(diverging.BrBG_r),
}
"""Colours of what has a sign; no pair of red and green."""
BACKGROUNDS = {"white": "#ffffff", "none": "rgba(0,0,0,0)"}

_UNITS = {"mm": 1.0, "cm": 10.0, "in": 25.4, "pt": 25.4 / 72}
_LEAST_WIDTH, _MOST_WIDTH = 30.0, 500.0
_LEAST_HEIGHT, _MOST_HEIGHT = 15.0, 700.0


@dataclass(frozen=True)
class Sheet:
    """How a figure is printed."""

    width: str = "89mm"
    """With its unit, as it was given."""
    height: str | None = None
    """None: what suits the figure at that width."""
    font_size: float = 7.0
    """Points, of all text."""
    font: str = "sans"
    palette: str | None = None
    """Of numbers without a sign, a key of `NUMBERS`; None: as on the page."""
    signed: str | None = None
    """Of numbers with a sign, a key of `SIGNED`; None: as on the page."""
    limits: tuple[float, float] | None = None
    """Ends of the colour scale, for figures that share one; None: the figure's own."""
    letter: str = ""
    """Of the panel, in its upper left corner."""
    dpi: int = 300
    """Of PNG."""
    background: str = "white"

    def __post_init__(self) -> None:
        """Check everything.

        Raises:
            HeadscopeError: a setting that cannot be printed.
        """
        _between("width", self.width, _LEAST_WIDTH, _MOST_WIDTH)
        if self.height is not None:
            _between("height", self.height, _LEAST_HEIGHT, _MOST_HEIGHT)
        _in_range("font size", self.font_size, 4, 24, "pt")
        _in_range("dpi", self.dpi, 72, 1200, "dots an inch")
        _one_of("font", self.font, FONTS)
        _one_of("background", self.background, BACKGROUNDS)
        if self.palette is not None:
            _one_of("palette", self.palette, NUMBERS)
        if self.signed is not None:
            _one_of("signed palette", self.signed, SIGNED)
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise HeadscopeError(
                f"The colour range {self.limits[0]:g} to {self.limits[1]:g} is empty; give the "
                "lower end first, such as 0,0.5."
            )
        if len(self.letter) > 3 or not self.letter.isprintable():
            raise HeadscopeError(
                f"The panel letter {self.letter!r} is no letter; give one such as a, at most 3."
            )

    @property
    def width_mm(self) -> float:
        return millimetres(self.width)

    @property
    def height_mm(self) -> float | None:
        return None if self.height is None else millimetres(self.height)

    @property
    def numbers_colours(self) -> tuple[str, ...] | None:
        return None if self.palette is None else NUMBERS[self.palette]

    @property
    def signed_colours(self) -> tuple[str, ...] | None:
        return None if self.signed is None else SIGNED[self.signed]

    def arguments(self) -> list[str]:
        """What `headscope report` takes to print like this; what is usual is left out."""
        usual = Sheet()
        said: list[str] = ["--width", self.width]
        flags = {
            "height": "--height",
            "font_size": "--font-size",
            "font": "--font",
            "palette": "--palette",
            "signed": "--signed-palette",
            "letter": "--letter",
            "dpi": "--dpi",
            "background": "--background",
        }
        for name, flag in flags.items():
            value = getattr(self, name)
            if value != getattr(usual, name):
                said += [flag, str(value)]
        if self.limits is not None:
            said.append(f"--range={self.limits[0]!r},{self.limits[1]!r}")
        return said

    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {
            "width_mm": round(self.width_mm, 4),
            "height_mm": None if self.height_mm is None else round(self.height_mm, 4),
            "font_size_pt": self.font_size,
            "font": self.font,
            "palette": self.palette or "as on the page",
            "signed_palette": self.signed or "as on the page",
            "colour_range": None if self.limits is None else list(self.limits),
            "panel_letter": self.letter,
            "png_dpi": self.dpi,
            "background": self.background,
        }


def millimetres(text: str) -> float:
    """A length with its unit: `"89mm"`, `"3.5 in"`, `"252pt"`.

    Raises:
        HeadscopeError: it is none.
    """
    match = re.fullmatch(r"\s*(\d{1,4}(?:\.\d{1,6})?)\s*(mm|cm|in|pt)\s*", text)
    if match is None:
        raise HeadscopeError(
            f"{text!r} is no length: give a number with mm, cm, in or pt, such as 89mm or 3.5in."
        )
    return float(match[1]) * _UNITS[match[2]]


def limits(text: str) -> tuple[float, float]:
    """The ends of a colour scale, as `"0,0.5"`.

    Raises:
        HeadscopeError: they are none.
    """
    try:
        low, high = (float(part) for part in text.split(","))
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise ValueError
    except ValueError as error:
        raise HeadscopeError(
            f"{text!r} is no colour range: give both ends, such as 0,0.5 or -1,1."
        ) from error
    return low, high


def formats(text: str) -> tuple[str, ...]:
    """Names of formats, as `"pdf,csv"`.

    Raises:
        HeadscopeError: one that there is not.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    for name in names:
        _one_of("format", name, dict.fromkeys(FORMATS))
    if not names:
        raise HeadscopeError(f"No format is named; give some of {', '.join(FORMATS)}.")
    return names


def _one_of(what: str, name: str, there: dict[str, Any]) -> None:
    if name not in there:
        raise HeadscopeError(f"There is no {what} {name!r}; there are {', '.join(there)}.")


def _in_range(what: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise HeadscopeError(
            f"The {what} {value:g} is out of range; give {least:g} to {most:g} {unit}."
        )


def _between(what: str, text: str, least: float, most: float) -> None:
    if not least <= millimetres(text) <= most:
        raise HeadscopeError(
            f"The {what} {text} cannot be printed; give {least:g} to {most:g} mm "
            f"({least / 25.4:.2g} to {most / 25.4:.3g} in)."
        )
