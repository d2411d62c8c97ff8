"""Two checkpoints on the same images: a number over layers, and which patterns their heads have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .template import colours, figure, number

if TYPE_CHECKING:
    from ...analysis.compare import Difference
    from ...analysis.importance.intervals import Interval
    from ...analysis.trends import Trend

HEIGHT = 340


@dataclass(frozen=True, eq=False)
class Side:
    """One checkpoint's numbers."""

    name: str
    trends: "Sequence[Trend]"
    """One a panel."""
    patterns: "Interval"
    """Share of its maps in each pattern, mean over images."""


def chart(
    sides: tuple[Side, Side],
    differences: "Sequence[Difference]",
    patterns: Sequence[str],
    *,
    dark: bool = False,
) -> go.Figure:
    """A panel for each number, over layers, and one for the shares of patterns; bars: intervals.

    The title of a panel tells the paired difference over all heads, second minus first.
    """
    paint = colours(dark=dark)
    n = len(differences) + 1
    gap = 0.1  # room for the label of the next axis
    width = (1 - gap * (n - 1)) / n
    domains = [(place * (width + gap), place * (width + gap) + width) for place in range(n)]
    looks = ((paint.accent, "circle"), (paint.warning, "square"))
    traces: list[go.Scatter | go.Bar] = []
    layout: dict[str, object] = {}
    notes = []
    for panel, found in enumerate(differences):
        axis = str(panel + 1)
        for side, (colour, symbol) in zip(sides, looks, strict=True):
            trend = side.trends[panel]
            mean, low, high = (values[0] for values in (trend.mean, trend.low, trend.high))
            traces.append(
                go.Scatter(
                    x=list(range(len(mean))),
                    y=mean.tolist(),
                    mode="lines+markers",
                    name=side.name,
                    legendgroup=side.name,
                    showlegend=panel == 0,
                    line={"color": colour, "width": 2},
                    marker={"size": 8, "symbol": symbol},
                    error_y=_bars(mean, low, high, colour),
                    xaxis=f"x{axis}",
                    yaxis=f"y{axis}",
                )
            )
        layout |= _axes(axis, domains[panel], "layer", f"{found.long_name}<br>({found.units})")
        notes.append(_title(domains[panel], _difference(found), paint.text))
    axis = str(n)
    for side, (colour, _) in zip(sides, looks, strict=True):
        mean, low, high = (100 * getattr(side.patterns, part) for part in ("mean", "low", "high"))
        traces.append(
            go.Bar(
                x=list(patterns),
                y=mean.tolist(),
                name=side.name,
                legendgroup=side.name,
                showlegend=False,
                marker={"color": colour},
                error_y=_bars(mean, low, high, paint.text),
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
            )
        )
    layout |= _axes(axis, domains[-1], "pattern", "Share of all maps<br>(%)")
    notes.append(_title(domains[-1], "Patterns, learned together", paint.text))
    return figure(
        *traces,
        dark=dark,
        height=HEIGHT,
        annotations=notes,
        barmode="group",
        bargap=0.25,
        margin={"l": 8, "r": 8, "t": 76, "b": 8},
        legend={"y": 1.16},
        **layout,
    )


def _difference(found: "Difference") -> str:
    mean, low, high = (float(getattr(found.whole, part)[0]) for part in ("mean", "low", "high"))
    sign = "+" if mean > 0 else ""
    return f"Difference: {sign}{number(mean)} {found.units} ({number(low)} to {number(high)})"


def _axes(axis: str, domain: tuple[float, float], x: str, y: str) -> dict[str, object]:
    integer = {"dtick": 1} if x == "layer" else {}
    return {
        f"xaxis{axis}": {
            "domain": domain,
            "anchor": f"y{axis}",
            "title": {"text": x},
            "zeroline": False,
            **integer,
        },
        f"yaxis{axis}": {
            "anchor": f"x{axis}",
            "title": {"text": y},
            "zeroline": False,
            "rangemode": "tozero",
        },
    }


def _title(domain: tuple[float, float], text: str, colour: str) -> dict[str, object]:
    return {
        "text": text,
        "x": domain[0],
        "xref": "paper",
        "xanchor": "left",
        "y": 1.02,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13, "color": colour},
    }


def _bars(
    mean: Float[np.ndarray, " place"],
    low: Float[np.ndarray, " place"],
    high: Float[np.ndarray, " place"],
    colour: str,
) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(high - mean).tolist(),
        "arrayminus": np.nan_to_num(mean - low).tolist(),
        "color": colour,
        "thickness": 1.5,
        "width": 3,
    }
