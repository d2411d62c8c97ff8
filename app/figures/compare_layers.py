"""A number over the layers of two checkpoints, and their difference, with intervals over images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from .template import colours, drawn, figure

if TYPE_CHECKING:
    from ...analysis.importance.intervals import Interval


def chart(
    sides: "Sequence[Interval]",
    difference: "Interval | None",
    label: str,
    unit: str,
    names: tuple[str, str],
    *,
    dark: bool = False,
) -> go.Figure:
    """Left: the mean over a layer's heads in each, by relative depth where numbers of layers
    differ. Right: B − A of each layer, paired image by image."""
    paint = colours(dark=dark)
    looks = ((paint.accent, "circle", "A"), (paint.warning, "square", "B"))
    depths = [np.arange(len(side.mean)) for side in sides]
    relative = len({len(side.mean) for side in sides}) > 1
    if relative:
        depths = [depth / max(1, len(depth) - 1) for depth in depths]
    traces: list[Any] = []
    for side, depth, name, (colour, symbol, letter) in zip(
        sides, depths, names, looks, strict=True
    ):
        traces.append(
            go.Scatter(
                x=depth.tolist(),
                y=drawn(side.mean),
                mode="lines+markers",
                name=f"{letter} · {name}",
                line={"color": colour, "width": 2},
                marker={"size": 8, "symbol": symbol},
                error_y=_bars(side, colour),
            )
        )
    of_unit = f"<br>({unit})" if unit else ""
    x_title = "relative depth (0 first, 1 last layer)" if relative else "layer"
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": x_title}, "zeroline": False},
        "yaxis": {"title": {"text": label + of_unit}, "zeroline": False},
    }
    if not relative:
        layout["xaxis"]["dtick"] = max(1, len(depths[0]) // 12)
    if difference is not None:
        traces.append(
            go.Scatter(
                x=depths[0].tolist(),
                y=drawn(difference.mean),
                mode="markers",
                name="B − A",
                marker={"size": 9, "symbol": "diamond", "color": paint.text},
                error_y=_bars(difference, paint.text),
                xaxis="x2",
                yaxis="y2",
            )
        )
        layout["xaxis"]["domain"] = [0, 0.5]
        layout["xaxis2"] = {
            **layout["xaxis"],
            "domain": [0.62, 1],
            "anchor": "y2",
        }
        layout["yaxis2"] = {
            "anchor": "x2",
            "title": {"text": f"B − A{of_unit}"},
            "zeroline": True,
        }
    return figure(*traces, dark=dark, height=360, **layout)


def _bars(side: "Interval", colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(side.high - side.mean).tolist(),
        "arrayminus": np.nan_to_num(side.mean - side.low).tolist(),
        "color": colour,
        "thickness": 1.5,
        "width": 3,
    }
