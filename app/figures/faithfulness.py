"""Deletion and insertion: curves, and the picture as its patches go, step by step."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from .template import Colours, colours, figure, number
from .why import KINDS

SIDE = 224
"""Pixels of the longer side of a step's picture, about."""
_QUALITY = 82
"""Of the steps' JPEGs: some 40 of them are sent at once."""
_DASHES = ("solid", "dash", "dot", "dashdot")
_SPLIT = 0.75
"""Where curves end and pictures begin, as a share of the width."""
_ROWS = ((0.585, 1.0), (0.0, 0.415))


@dataclass(frozen=True, eq=False)
class Line:
    """The curves of one method."""

    name: str
    covered: Float[np.ndarray, " step"]
    """Share of the patches that are covered, most relevant first."""
    deletion: Float[np.ndarray, " step"]
    shown: Float[np.ndarray, " step"]
    """Share of the patches that are shown, most relevant first."""
    insertion: Float[np.ndarray, " step"]
    is_baseline: bool = False


@dataclass(frozen=True)
class Step:
    """The picture as it is at one step, as data URLs."""

    deleted: str
    inserted: str


def steps(
    pixels: UInt8[np.ndarray, "row column 3"],
    beneath: UInt8[np.ndarray, "row column 3"],
    rank: Int[np.ndarray, "cell_row cell_column"],
    edges: tuple[Sequence[int], Sequence[int]],
    n_covered: Int[np.ndarray, " step"],
) -> list[Step]:
    """The pictures of a player: at step i the `n_covered[i]` most relevant cells are covered, or
    as many as at the same place of the insertion shown."""
    n_shown = rank.size - n_covered[::-1]
    made = []
    for covered, shown in zip(n_covered, n_shown, strict=True):
        deleted = _covered(pixels, beneath, _at_pixels(rank < covered, edges))
        inserted = _covered(pixels, beneath, _at_pixels(rank >= shown, edges))
        made.append(Step(deleted, inserted))
    return made


def _at_pixels(
    cells: Bool[np.ndarray, "cell_row cell_column"], edges: tuple[Sequence[int], Sequence[int]]
) -> Bool[np.ndarray, "row column"]:
    rows, columns = (np.diff(of) for of in edges)
    return np.repeat(np.repeat(cells, rows, axis=0), columns, axis=1)


def _covered(pixels: np.ndarray, beneath: np.ndarray, where: np.ndarray) -> str:
    image = Image.fromarray(np.where(where[..., None], beneath, pixels))
    height, width = pixels.shape[:2]
    times = SIDE / max(height, width)
    size = (max(1, round(width * times)), max(1, round(height * times)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def player(
    lines: Sequence[Line],
    chosen: str,
    pictures: Sequence[Step],
    *,
    quantity: str,
    shape: tuple[int, int],
    dark: bool = False,
) -> go.Figure:
    """Curves of all methods; a marker moves along those of the chosen one, the picture with it.

    The y axis is shared by both. Everything moves in the browser. `shape` is the height and width
    of the picture.
    """
    paint = colours(dark=dark)
    followed = next(line for line in lines if line.name == chosen)
    traces = [
        trace for line in _ordered(lines, chosen) for trace in _curves(line, chosen, lines, paint)
    ]
    start = len(pictures) // 4
    moving = _moving(followed, pictures, start, paint)
    first = len(traces)
    frames = [
        go.Frame(
            name=str(step),
            data=_moving(followed, pictures, step, paint),
            traces=list(range(first, first + len(moving))),
        )
        for step in range(len(pictures))
    ]
    made = figure(*traces, *moving, dark=dark, height=580, **_layout(shape, quantity, paint))
    made.frames = frames
    made.update_layout(sliders=[_slider(followed, start, paint)], updatemenus=[_buttons(paint)])
    return made


def _ordered(lines: Sequence[Line], chosen: str) -> list[Line]:
    """Baselines behind, the chosen one in front."""
    return sorted(lines, key=lambda line: (line.name == chosen, not line.is_baseline))


def _look(line: Line, chosen: str, lines: Sequence[Line], paint: Colours) -> dict[str, Any]:
    if line.is_baseline:
        names = [other.name for other in lines if other.is_baseline]
        look = {"color": paint.faint, "dash": ("dot", "dash")[names.index(line.name) % 2]}
    else:
        names = [other.name for other in lines if not other.is_baseline]
        place = names.index(line.name)
        hues = KINDS[:-1]  # the last is the grey of baselines
        look = {"color": hues[place % len(hues)], "dash": _DASHES[place // len(hues) % 4]}
    return look | {"width": 3.5 if line.name == chosen else 1.5}


def _curves(line: Line, chosen: str, lines: Sequence[Line], paint: Colours) -> list[go.Scatter]:
    look = _look(line, chosen, lines, paint)
    sides = ((line.covered, line.deletion, "covered"), (line.shown, line.insertion, "shown"))
    return [
        go.Scatter(
            x=x.tolist(),
            y=y.tolist(),
            mode="lines",
            name=line.name,
            legendgroup=line.name,
            showlegend=side == 0,
            line=look,
            xaxis=("x", "x2")[side],
            yaxis=("y", "y2")[side],
            hovertemplate=f"<b>{line.name}</b><br>%{{x:.0%}} {what}: %{{y:.3f}}<extra></extra>",
        )
        for side, (x, y, what) in enumerate(sides)
    ]


def _moving(line: Line, pictures: Sequence[Step], step: int, paint: Colours) -> list[Any]:
    """What changes from step to step: two markers, two pictures."""
    sides = ((line.covered, line.deletion), (line.shown, line.insertion))
    markers = [
        go.Scatter(
            x=[float(x[step])],
            y=[float(y[step])],
            mode="markers",
            marker={"size": 13, "color": paint.ground, "line": {"width": 3, "color": paint.text}},
            showlegend=False,
            hoverinfo="skip",
            xaxis=("x", "x2")[side],
            yaxis=("y", "y2")[side],
        )
        for side, (x, y) in enumerate(sides)
    ]
    sources = (pictures[step].deleted, pictures[step].inserted)
    images = [
        go.Image(
            source=source, xaxis=("x3", "x4")[side], yaxis=("y3", "y4")[side], hoverinfo="skip"
        )
        for side, source in enumerate(sources)
    ]
    return [*markers, *images]


def _layout(shape: tuple[int, int], quantity: str, paint: Colours) -> dict[str, Any]:
    share = {"range": [-0.02, 1.02], "tickformat": ".0%", "zeroline": False}
    curve = {"domain": [0, _SPLIT - 0.03]} | share
    value: dict[str, Any] = {"zeroline": False, "title": {"text": quantity}}
    picture = {"visible": False, "fixedrange": True}
    scale = SIDE / max(shape)
    across = picture | {
        "domain": [_SPLIT, 1],
        "constrain": "domain",
        "range": [-0.5, round(shape[1] * scale) - 0.5],
    }
    down = picture | {"range": [round(shape[0] * scale) - 0.5, -0.5], "constrain": "domain"}
    heads = ("<b>Deletion</b>: the most relevant go first", "<b>Insertion</b>: they come first")
    notes = [
        {
            "text": text,
            "x": 0,
            "y": row[1],
            "xref": "paper",
            "yref": "paper",
            "xanchor": "left",
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 13, "color": paint.text},
        }
        for text, row in zip(heads, _ROWS, strict=True)
    ]
    return {
        "xaxis": curve | {"title": {"text": "Patches covered"}, "anchor": "y"},
        "xaxis2": curve | {"title": {"text": "Patches shown"}, "anchor": "y2"},
        "yaxis": value | {"domain": list(_ROWS[0]), "anchor": "x"},
        "yaxis2": value | {"domain": list(_ROWS[1]), "anchor": "x2", "matches": "y"},
        "xaxis3": across | {"anchor": "y3"},
        "xaxis4": across | {"anchor": "y4"},
        "yaxis3": down | {"domain": list(_ROWS[0]), "anchor": "x3", "scaleanchor": "x3"},
        "yaxis4": down | {"domain": list(_ROWS[1]), "anchor": "x4", "scaleanchor": "x4"},
        "annotations": notes,
        "legend": {"y": 1.06},
        "margin": {"l": 8, "r": 8, "t": 70, "b": 8},
    }


def _slider(line: Line, start: int, paint: Colours) -> dict[str, Any]:
    still = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": True},
        "transition": {"duration": 0},
    }
    return {
        "active": start,
        "x": 0.12,
        "len": 0.86,
        "y": -0.12,
        "pad": {"t": 8, "b": 0},
        "currentvalue": {"visible": False},
        "bgcolor": paint.grid,
        "bordercolor": paint.grid,
        "activebgcolor": paint.accent,
        "tickcolor": paint.faint,
        "font": {"color": paint.faint, "size": 11},
        "steps": [
            {"method": "animate", "label": f"{share:.0%}", "args": [[str(step)], still]}
            for step, share in enumerate(line.covered)
        ],
    }


def _buttons(paint: Colours) -> dict[str, Any]:
    go_on = {
        "mode": "immediate",
        "fromcurrent": True,
        "frame": {"duration": 350, "redraw": True},
        "transition": {"duration": 0},
    }
    stop = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": False},
        "transition": {"duration": 0},
    }
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": -0.12,
        "yanchor": "top",
        "pad": {"t": 14},
        "bgcolor": paint.ground,
        "bordercolor": paint.grid,
        "font": {"color": paint.text},
        "buttons": [
            {"label": "▶", "method": "animate", "args": [None, go_on]},
            {"label": "❚❚", "method": "animate", "args": [[None], stop]},
        ],
    }


def words(lines: Sequence[Line]) -> str:
    """The chart, for those who cannot see it."""
    areas = []
    for line in lines:
        insertion = np.trapezoid(line.insertion, line.shown)
        deletion = np.trapezoid(line.deletion, line.covered)
        areas.append(f"{line.name} {number(float(insertion - deletion))}")
    return f"Curves of deletion and insertion; insertion less deletion: {', '.join(areas)}."
