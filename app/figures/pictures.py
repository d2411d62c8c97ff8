"""Maps over pictures beside each other, sharp, on one scale with its legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from PIL import Image

from .explanation import as_url, overlay
from .palette import payload
from .template import LIGHT, figure, number

_TITLE, _BAR = 22, 92
"""Pixels above each picture, and of the colour bar with its words."""


@dataclass(frozen=True, eq=False)
class Over:
    """A map over a picture; without values the picture alone."""

    title: str
    pixels: UInt8[np.ndarray, "row column 3"]
    values: Float[np.ndarray, "row column"] | None = None
    """NaN where a cell is out of reach."""


def chart(
    panels: Sequence[Over],
    *,
    signed: bool,
    title: str,
    across: int,
    largest: float | None = None,
    percent: bool = False,
    page_px: int,
    colours: Sequence[str] | None = None,
) -> go.Figure:
    """Pictures in rows of so many; the colours of all end at the same value, `largest`."""
    found = [np.abs(p.values[np.isfinite(p.values)]) for p in panels if p.values is not None]
    end = largest if largest is not None else max(float(f.max(initial=0)) for f in found)
    end = end or 1.0
    anchors = list(colours or payload()["signed" if signed else "attention"])
    down = -(-len(panels) // across)
    height, width = panels[0].pixels.shape[:2]
    room = (page_px - _BAR) / across * height / width  # of one picture, without its title
    made = figure(dark=False, height=round(down * (room + _TITLE) + 20), showlegend=False)
    title_share = _TITLE / (room + _TITLE)
    for place, panel in enumerate(panels):
        _add(made, panel, (place, across, down), title_share, (end, signed, colours))
    low = -end if signed else 0.0
    ticks = [low, (low + end) / 2, end]
    texts = [f"{number(100 * value)} %" if percent else number(value) for value in ticks]
    made.add_trace(
        go.Scatter(
            x=[0],
            y=[0],
            mode="markers",
            marker={
                "opacity": 0,
                "size": 1,
                "color": [low],
                "cmin": low,
                "cmax": end,
                "colorscale": anchors,
                "colorbar": {"title": {"text": title}, "outlinewidth": 0, "tickvals": ticks}
                | {"ticktext": texts},
            },
        )
    )
    made.update_layout(margin={"l": 2, "r": 8, "t": 8, "b": 12})
    return made


def _add(
    made: go.Figure,
    panel: Over,
    where: tuple[int, int, int],
    title_share: float,
    scale: tuple[float, bool, Sequence[str] | None],
) -> None:
    end, signed, colours = scale
    place, across, down = where
    row, column = divmod(place, across)
    name = "" if place == 0 else str(place + 1)
    height, width = panel.pixels.shape[:2]
    gap = 0.02
    wide, tall = (1 - gap * (across - 1)) / across, 1 / down
    start, top = column * (wide + gap), 1 - row * tall
    if panel.values is None:
        source = as_url(Image.fromarray(panel.pixels))
    else:
        source = overlay(
            panel.pixels, panel.values, signed=signed, largest=end, colours=colours
        ).source
    made.add_layout_image(
        source=source,
        xref=f"x{name}",
        yref=f"y{name}",
        x=0,
        y=0,
        sizex=width,
        sizey=height,
        sizing="stretch",
        layer="below",
    )
    bare: dict[str, Any] = {"visible": False, "constrain": "domain"}
    head = tall * title_share
    made.update_layout(
        {
            f"xaxis{name}": {**bare, "domain": [start, start + wide], "anchor": f"y{name}"}
            | {"range": [0, width]},
            f"yaxis{name}": {**bare, "domain": [top - tall, top - head], "anchor": f"x{name}"}
            | {"range": [height, 0], "scaleanchor": f"x{name}", "constraintoward": "top"},
        }
    )
    if panel.title:
        made.add_annotation(
            text=panel.title,
            x=start + wide / 2,
            xref="paper",
            y=top - head,
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
            font={"size": 13, "color": LIGHT.text},
        )
    if place:  # an axis without a trace is not drawn, and its image neither
        made.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", xaxis=f"x{name}", yaxis=f"y{name}")
        )
