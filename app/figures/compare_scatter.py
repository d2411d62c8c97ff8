"""A number of matched heads in one checkpoint against the same number in another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from .palette import NUMBERS
from .template import colours, drawn, figure, head_words, number


@dataclass(frozen=True, eq=False)
class Point:
    """A pair of matched heads."""

    first: tuple[int, int]
    second: tuple[int, int]
    x: float
    """The number in A, mean over the shared images."""
    y: float
    score: float


def chart(
    points: Sequence[Point],
    label: str,
    unit: str,
    names: tuple[str, str],
    *,
    chosen: tuple[int, int] | None = None,
    dark: bool = False,
) -> go.Figure:
    """One dot a pair, with the line on which both are equal; colour: the layer in A."""
    paint = colours(dark=dark)
    there = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    values = [value for point in there for value in (point.x, point.y)] or [0.0, 1.0]
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    ends = [low - room, high + room]
    same = go.Scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": paint.faint, "width": 1, "dash": "dash"},
        hoverinfo="skip",
        name="the same in both",
    )
    layers = [point.first[0] for point in there]
    dots = go.Scatter(
        x=drawn([point.x for point in there]),
        y=drawn([point.y for point in there]),
        mode="markers",
        showlegend=False,
        marker={
            "size": 10,
            "color": layers,
            "colorscale": list(NUMBERS),
            "cmin": 0,
            "cmax": max([1, *layers]),
            "line": {"width": 1, "color": paint.faint},
            "colorbar": {
                "title": {"text": "Layer in A", "font": {"size": 12}},
                "outlinewidth": 0,
                "thickness": 12,
                "len": 0.9,
                "tickformat": "d",
                "dtick": max(1, max([1, *layers]) // 6),
                "tickfont": {"color": paint.faint, "size": 12},
            },
        },
        customdata=[list(point.first) for point in there],
        text=[
            f"<b>A: {head_words(point.first)}</b><br>B: {head_words(point.second)}"
            f"<br>A {number(point.x)}, B {number(point.y)} {unit}<br>score {number(point.score)}"
            for point in there
        ],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
    rings = [point for point in there if point.first == chosen]
    ring = go.Scatter(
        x=[point.x for point in rings],
        y=[point.y for point in rings],
        mode="markers",
        name="chosen head",
        showlegend=bool(rings),
        marker={"symbol": "circle-open", "size": 18, "color": paint.text, "line": {"width": 2}},
        hoverinfo="skip",
    )
    of_unit = f" ({unit})" if unit else ""
    return figure(
        same,
        dots,
        ring,
        dark=dark,
        height=460,
        xaxis={
            "title": {"text": f"A · {names[0]}: {label}{of_unit}"},
            "range": ends,
            "zeroline": False,
        },
        yaxis={
            "title": {"text": f"B · {names[1]}: {label}{of_unit}"},
            "range": ends,
            "zeroline": False,
        },
        clickmode="event+select",
    )
