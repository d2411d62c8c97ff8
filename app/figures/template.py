"""How native charts look: light and dark, like the page around them.

Colours are written out. Importing streamlit makes a template with placeholder colours plotly's
default, and a chart that leans on it comes out black where it is exported.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Colours:
    """Of a chart's parts; those that carry meaning differ in lightness as well as in hue."""

    text: str
    faint: str
    """Text and marks that matter less."""
    grid: str
    ground: str
    """Of the page, and of labels under the mouse."""
    accent: str
    second: str
    third: str
    warning: str
    band: str


LIGHT = Colours(
    text="#16202b",
    faint="#6a7683",
    grid="#e3e8ed",
    ground="#ffffff",
    accent="#0b63ce",
    second="#0f8a6d",
    third="#8b3fb0",
    warning="#b4530a",
    band="rgba(106,118,131,0.20)",
)
DARK = Colours(
    text="#e6ebf0",
    faint="#94a1ae",
    grid="#2b333c",
    ground="#12161b",
    accent="#6cb2ff",
    second="#4fd0ab",
    third="#d49af0",
    warning="#f5a54a",
    band="rgba(148,161,174,0.22)",
)


def colours(*, dark: bool) -> Colours:
    return DARK if dark else LIGHT


def figure(*traces: Any, dark: bool, height: int, **layout: Any) -> go.Figure:
    """Traces on the page's own ground, in its font."""
    chosen = colours(dark=dark)
    axis = {
        "gridcolor": chosen.grid,
        "linecolor": chosen.grid,
        "zerolinecolor": chosen.faint,
        "tickfont": {"color": chosen.faint, "size": 12},
        "title": {"font": {"color": chosen.text, "size": 13}, "standoff": 10},
        "automargin": True,
    }
    template = go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": chosen.text},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hoverlabel": {
                "bgcolor": chosen.ground,
                "bordercolor": chosen.faint,
                "font": {"family": FONT, "size": 13, "color": chosen.text},
                "align": "left",
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
            "dragmode": "pan",
            "modebar": {
                "bgcolor": "rgba(0,0,0,0)",
                "color": chosen.faint,
                "activecolor": chosen.accent,
            },
            "xaxis": axis,
            "yaxis": axis,
        }
    )
    made = go.Figure(list(traces))
    made.update_layout(template=template, height=height, **layout)
    return made


def head_name(head: tuple[int, ...]) -> str:
    """Short, for an axis; the words are "layer 5, head 3"."""
    return f"L{head[0]} H{head[1]}"


def head_words(head: tuple[int, ...]) -> str:
    return f"Layer {head[0]}, head {head[1]}"


def number(value: float) -> str:
    """Three significant digits, with a minus sign; a dash where there is no number."""
    if value != value:  # NaN
        return "–"
    shown = f"{value:.3g}"
    if "e" in shown:
        digits, power = shown.split("e")
        shown = f"{digits}·10<sup>{int(power)}</sup>"
    return shown.replace("-", "−")


def written(value: float) -> str:
    """Three significant digits without powers of ten, for running text: 12,300 or 0.00012."""
    if value != value or abs(value) == float("inf"):
        return "–" if value != value else "∞"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 1000:
        return f"{rounded:,.0f}".replace("-", "−")
    digits = max(0, 2 - floor(log10(abs(rounded)))) if rounded else 0
    shown = f"{rounded:.{digits}f}"
    return (shown.rstrip("0").rstrip(".") if "." in shown else shown).replace("-", "−")


def drawn(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Numbers as a chart takes them: a gap where there is none."""
    return [float(value) if math.isfinite(value) else None for value in values]
