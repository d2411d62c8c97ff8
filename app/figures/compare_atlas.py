"""Two atlases on one colour scale, and their difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .palette import NUMBERS, SIGNED
from .template import colours, figure, head_words, number

ROW = 26
"""Height of a layer, px."""
DARK_SIGNED = ("#cdb8ff", "#7d6bb8", "#222a33", "#b06a1e", "#ffc27a")
"""The hues of `SIGNED` on a dark page, where 0 is near the ground."""

Head = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Atlas:
    """A number of every head, as a panel."""

    title: str
    values: Float[np.ndarray, "layer head"]
    """NaN where there is none."""
    words: Mapping[Head, str]
    """What a head says under the pointer."""
    chooses: Mapping[Head, Head]
    """Which head of the first checkpoint a click on it chooses; the others choose nothing."""


def chart(
    sides: Sequence[Atlas],
    difference: Atlas | None,
    *,
    label: str,
    unit: str,
    signed: bool,
    chosen: Head | None = None,
    dark: bool = False,
) -> go.Figure:
    """The sides with one range of colours, and the difference with 0 in the middle of its own."""
    paint = colours(dark=dark)
    low, high = limits([side.values for side in sides], signed=signed)
    panels = [*sides, *([difference] if difference is not None else [])]
    n_rows = max(len(panel.values) for panel in panels)
    domains = ((0.0, 0.24), (0.29, 0.53), (0.70, 0.94))
    bar: dict[str, Any] = {
        "outlinewidth": 0,
        "thickness": 10,
        "len": 1,
        "tickfont": {"color": paint.faint, "size": 11},
        "nticks": 5,
    }
    title = f"{unit}" if unit else ""
    scale = list(_signed(dark=dark) if signed else NUMBERS)
    layout: dict[str, Any] = {
        "coloraxis": {
            "cmin": low,
            "cmax": high,
            "colorscale": scale,
            "colorbar": bar | {"x": 0.54, "title": {"text": title, "font": {"size": 11}}},
        }
    }
    traces: list[Any] = []
    notes = []
    for place, panel in enumerate(panels):
        axis = str(place + 1)
        of_difference = panel is difference
        colouring: dict[str, Any] = {"coloraxis": "coloraxis"}
        if of_difference:
            far = float(np.nanmax(np.abs(panel.values), initial=0)) if panel.values.size else 0.0
            layout["coloraxis2"] = {
                "cmin": -far or -1.0,
                "cmax": far or 1.0,
                "colorscale": list(_signed(dark=dark)),
                "colorbar": bar
                | {"x": 0.95, "title": {"text": f"Δ {title}".strip(), "font": {"size": 11}}},
            }
            colouring = {"coloraxis": "coloraxis2"}
        traces.append(_cells(panel, axis, colouring))
        traces.append(_targets(panel, axis))
        ring = [head for head, goes in panel.chooses.items() if goes == chosen]
        if ring:
            traces.append(_ring(ring, axis, paint.text))
        n_heads = panel.values.shape[1]
        domain = (
            domains[place] if len(panels) > 2 else (domains[0], (0.3, 0.54), (0.7, 0.94))[place]
        )
        layout[f"xaxis{axis}"] = {
            "domain": domain,
            "anchor": f"y{axis}",
            "title": {"text": "head"},
            "range": [-0.5, n_heads - 0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "dtick": max(1, n_heads // 8),
        }
        layout[f"yaxis{axis}"] = {
            "anchor": f"x{axis}",
            "title": {"text": "layer" if place == 0 else ""},
            "range": [len(panel.values) - 0.5, -0.5],
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "dtick": max(1, len(panel.values) // 12),
        }
        notes.append(_title(panel.title, domain[0], paint.text))
    return figure(
        *traces,
        dark=dark,
        height=90 + max(160, ROW * n_rows),
        annotations=notes,
        showlegend=False,
        hoverdistance=60,
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        meta={"label": label},
        **layout,
    )


def limits(
    several: Sequence[Float[np.ndarray, "layer head"]], *, signed: bool
) -> tuple[float, float]:
    """Of one colour scale for all."""
    flat = np.concatenate([values[np.isfinite(values)] for values in several])
    if not len(flat):
        return 0.0, 1.0
    low, high = float(flat.min()), float(flat.max())
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low, low + 1.0)


def _signed(*, dark: bool) -> Sequence[str]:
    return DARK_SIGNED if dark else SIGNED


def _cells(panel: Atlas, axis: str, colouring: Mapping[str, Any]) -> go.Heatmap:
    values = [[float(v) if np.isfinite(v) else None for v in row] for row in panel.values]
    return go.Heatmap(
        z=values,
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        xgap=1,
        ygap=1,
        hoverinfo="skip",
        **colouring,
    )


def _targets(panel: Atlas, axis: str) -> go.Scatter:
    """What is hovered and clicked: a heatmap tells nobody of a click."""
    heads = list(panel.words)
    return go.Scatter(
        x=[head for _, head in heads],
        y=[layer for layer, _ in heads],
        mode="markers",
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        marker={"size": 4, "opacity": 0},
        # A head without a counterpart names itself as a third: nobody is chosen by it.
        customdata=[list(panel.chooses.get(head, (-1, -1))) for head in heads],
        text=[panel.words[head] for head in heads],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _ring(heads: Sequence[Head], axis: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[head for _, head in heads],
        y=[layer for layer, _ in heads],
        mode="markers",
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
        marker={"symbol": "square-open", "size": 17, "color": colour, "line": {"width": 2}},
        hoverinfo="skip",
    )


def _title(text: str, x: float, colour: str) -> dict[str, Any]:
    return {
        "text": text,
        "x": x,
        "xref": "paper",
        "xanchor": "left",
        "y": 1.02,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13, "color": colour},
    }


def words(
    values: Float[np.ndarray, "layer head"],
    unit: str,
    more: Mapping[Head, str] | None = None,
    there: Sequence[Head] | None = None,
) -> dict[Head, str]:
    """What each head says: its name, its number, and `more`."""
    heads = there if there is not None else [tuple(at) for at in np.argwhere(np.isfinite(values))]
    found = {}
    for layer, head in heads:
        at = (int(layer), int(head))
        lines = [f"<b>{head_words(at)}</b>", f"{number(float(values[at]))} {unit}".strip()]
        if more and more.get(at):
            lines.append(more[at])
        found[at] = "<br>".join(lines)
    return found
