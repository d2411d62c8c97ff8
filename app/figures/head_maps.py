"""Maps of all heads on one scale, as one image, and a number of each head as a heatmap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from PIL import Image

from .explanation import as_url, ends, plain, ranks, table
from .palette import NUMBERS
from .template import Colours, colours, figure, head_words

Head = tuple[int, int]
TILE = 42
"""Pixels of a map's longer side, at least."""
_GAP = 0.06
"""Between two maps, as a share of a tile."""
_WIDTH = 500
"""Pixels that a chart's tiles have side by side, about."""
_TALLEST = 80
"""Most pixels of a layer's row in a chart."""
_LEAST, _MOST = 260, 900
"""Height of a chart."""


def montage(
    values: Float[np.ndarray, "layer head row column"],
    *,
    signed: bool,
    by_rank: bool = False,
    palette: Sequence[str] | None = None,
    side: int = TILE,
) -> tuple[Image.Image, float]:
    """Every head's map in its place, sharp, and the largest value, which is the end of the scale.

    Where there is no head, it is transparent. `by_rank` colours by the rank among all cells of all
    heads.
    """
    n_layers, n_heads, rows, columns = values.shape
    largest = float(np.nanmax(np.abs(values), initial=0))
    finite = np.nan_to_num(values)
    share = ranks(finite, signed=signed) if by_rank else finite / (largest or 1)
    place = (share + 1) / 2 if signed else np.clip(share, 0, 1)
    paint = table(signed=signed, colours=palette)
    colour = paint[np.round(place * (len(paint) - 1)).astype(int)]
    opaque = np.zeros((*values.shape, 1))
    opaque[~np.isnan(values).all((-1, -2))] = 255
    tiles = np.concatenate([colour, opaque], -1).round().astype(np.uint8)
    times = max(1, -(-side // max(rows, columns)))
    tiles = tiles.repeat(times, 2).repeat(times, 3)
    gap = max(1, round(_GAP * max(rows, columns) * times))
    tiles = np.pad(tiles, ((0, 0), (0, 0), (gap, gap), (gap, gap), (0, 0)))
    whole = tiles.transpose(0, 2, 1, 3, 4).reshape(
        n_layers * (rows * times + 2 * gap), n_heads * (columns * times + 2 * gap), 4
    )
    return Image.fromarray(whole, "RGBA"), largest


def maps_chart(
    values: Float[np.ndarray, "layer head row column"],
    *,
    signed: bool,
    by_rank: bool = False,
    palette: Sequence[str] | None = None,
    side: int = TILE,
    chosen: Head | None = None,
    marked: Sequence[Head] = (),
    dark: bool = False,
) -> go.Figure:
    """The montage with a point to click on each head, `(layer, head)` in its custom data."""
    paint = colours(dark=dark)
    image, largest = montage(values, signed=signed, by_rank=by_rank, palette=palette, side=side)
    there = [
        (int(layer), int(head)) for layer, head in np.argwhere(~np.isnan(values).all((-1, -2)))
    ]
    sums = [float(np.nansum(values[head])) for head in there]
    points = _points(there, [f"sum of its part: {plain(value)}" for value in sums])
    scale = table(signed=signed, colours=palette)[::15]
    anchors = [
        [i / (len(scale) - 1), f"rgb({r:.0f},{g:.0f},{b:.0f})"] for i, (r, g, b) in enumerate(scale)
    ]
    points.update(
        marker={
            "color": [0.0] * len(there),
            "cmin": -largest if signed else 0.0,
            "cmax": largest or 1.0,
            "colorscale": anchors,
            "colorbar": _bar("", paint)
            | {"tickvals": [-largest, largest] if signed else [0, largest]}
            | {"ticktext": ends(largest, signed=signed, by_rank=by_rank)},
        }
    )
    n_layers, n_heads, rows, columns = values.shape
    axes = _axes(n_layers, n_heads)
    axes["xaxis"] |= {"constrain": "domain", "constraintoward": "left"}
    axes["yaxis"] |= {"constrain": "domain", "scaleanchor": "x", "scaleratio": rows / columns}
    return figure(
        points,
        dark=dark,
        height=_height(n_layers, n_heads),
        images=[
            {
                "source": as_url(image),
                "xref": "x",
                "yref": "y",
                "x": -0.5,
                "y": -0.5,
                "sizex": n_heads,
                "sizey": n_layers,
                "sizing": "stretch",
                "layer": "below",
            }
        ],
        **axes,
        shapes=_rings(chosen, marked, there, paint),
    )


def shares_chart(
    shares: Float[np.ndarray, "layer head"],
    *,
    chosen: Head | None = None,
    marked: Sequence[Head] = (),
    dark: bool = False,
) -> go.Figure:
    """A share of each head as colour, 0 to the largest; a point to click on each."""
    paint = colours(dark=dark)
    there = [(int(layer), int(head)) for layer, head in np.argwhere(np.isfinite(shares))]
    largest = max((float(shares[head]) for head in there), default=0.0)
    heat = go.Heatmap(
        z=[[None if value != value else float(value) for value in row] for row in shares],
        zmin=0,
        zmax=largest or 1.0,
        colorscale=list(NUMBERS),
        colorbar=_bar("share of the map", paint) | {"tickformat": ".0%", "nticks": 4},
        xgap=2,
        ygap=2,
        hoverinfo="skip",
    )
    points = _points(there, [f"{shares[head]:.1%} of the map" for head in there])
    n_layers, n_heads = shares.shape
    return figure(
        heat,
        points,
        dark=dark,
        height=_height(n_layers, n_heads),
        **_axes(n_layers, n_heads),
        shapes=_rings(chosen, marked, there, paint),
    )


def _points(heads: Sequence[Head], texts: Sequence[str]) -> go.Scatter:
    """Invisible, as a heatmap tells nobody that it was clicked."""
    return go.Scatter(
        x=[head for _, head in heads],
        y=[layer for layer, _ in heads],
        mode="markers",
        marker={"size": 30, "opacity": 0, "symbol": "square"},
        customdata=[list(head) for head in heads],
        text=[f"<b>{head_words(h)}</b><br>{t}" for h, t in zip(heads, texts, strict=True)],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _axes(n_layers: int, n_heads: int) -> dict[str, Any]:
    axis = {"showgrid": False, "zeroline": False, "fixedrange": True}
    return {
        "xaxis": axis
        | {"range": [-0.5, n_heads - 0.5], "title": {"text": "Head"}, "dtick": _every(n_heads)},
        "yaxis": axis
        | {"range": [n_layers - 0.5, -0.5], "title": {"text": "Layer"}, "dtick": _every(n_layers)},
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
    }


def _every(n: int) -> int:
    return 1 if n <= 16 else 2 if n <= 32 else 4


def _rings(
    chosen: Head | None, marked: Sequence[Head], there: Sequence[Head], paint: Colours
) -> list[dict[str, Any]]:
    """The marked heads, then the chosen one in front."""
    rings = [(head, paint.third, 2) for head in marked if head in there and head != chosen]
    if chosen in there and chosen is not None:
        rings.append((chosen, paint.accent, 3))
    return [
        {
            "type": "rect",
            "x0": head - 0.49,
            "x1": head + 0.49,
            "y0": layer - 0.49,
            "y1": layer + 0.49,
            "line": {"color": colour, "width": width},
        }
        for (layer, head), colour, width in rings
    ]


def _height(n_layers: int, n_heads: int) -> int:
    row = min(_TALLEST, _WIDTH / n_heads)
    return int(np.clip(n_layers * row + 90, _LEAST, _MOST))


def _bar(title: str, paint: Colours) -> dict[str, Any]:
    return {
        "thickness": 10,
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.01,
        "yanchor": "bottom",
        "len": 0.5,
        "outlinewidth": 0,
        "tickfont": {"color": paint.faint, "size": 11},
        "title": {"text": title, "side": "top", "font": {"color": paint.faint, "size": 12}},
    }
