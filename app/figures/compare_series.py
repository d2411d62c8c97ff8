"""Heads through a series of checkpoints: as a film in the plane of two numbers, and as lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from .palette import NUMBERS
from .template import Colours, colours, drawn, figure, head_words, number

HEIGHT = 520
FRAME, PASSING = 700, 450
"""Time of a step, and of the way to it, in ms."""
FATES = ("matched", "moved", "died", "appeared")


@dataclass(frozen=True, eq=False)
class Film:
    """Two numbers of every track at every step."""

    names: Sequence[str]
    """Of the steps."""
    tracks: Int[np.ndarray, "track step 2"]
    """Layer and head; −1 where a track has none."""
    x: Float[np.ndarray, "track step"]
    y: Float[np.ndarray, "track step"]
    x_title: str
    y_title: str
    n_layers: int

    def trail(self, track: int, step: int) -> tuple[list[float | None], list[float | None]]:
        """Where a track has been until a step."""
        return drawn(self.x[track, : step + 1]), drawn(self.y[track, : step + 1])


def film(found: Film, *, chosen: int | None = None, dark: bool = False) -> go.Figure:
    """A frame a step, with axes that stay; the chosen track leaves a trail. Play, pause, slider.

    Every frame has a dot for each track, in the same order, so that dots move and do not jump.
    """
    paint = colours(dark=dark)
    n = len(found.names)
    frames = [
        go.Frame(name=str(step), data=_traces(found, step, chosen, paint), traces=[0, 1, 2])
        for step in range(n)
    ]
    made = figure(
        *_traces(found, 0, chosen, paint),
        dark=dark,
        height=HEIGHT,
        xaxis={"title": {"text": found.x_title}, "range": _range(found.x), "zeroline": False},
        yaxis={"title": {"text": found.y_title}, "range": _range(found.y), "zeroline": False},
        showlegend=False,
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 12, "b": 100},
        updatemenus=[_buttons(paint)],
        sliders=[_slider(found.names, paint)],
    )
    made.frames = frames
    return made


def lines(
    found: Film,
    values: Float[np.ndarray, "track step"],
    title: str,
    *,
    chosen: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """A number of every head over the steps, the chosen track in front."""
    paint = colours(dark=dark)
    x = list(range(len(found.names)))
    order = [track for track in range(len(values)) if track != chosen]
    order += [] if chosen is None else [chosen]
    traces = []
    for track in order:
        front = track == chosen
        custom = _custom(found, track)
        traces.append(
            go.Scatter(
                x=x,
                y=drawn(values[track]),
                mode="lines+markers",
                line={
                    "color": paint.accent if front else paint.faint,
                    "width": 3 if front else 1,
                },
                opacity=1 if front else 0.45,
                marker={"size": 8 if front else 4},
                customdata=[custom] * len(x),
                text=[_words(found, track, step, values[track, step], title) for step in x],
                hovertemplate="%{text}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    return figure(
        *traces,
        dark=dark,
        height=360,
        showlegend=False,
        xaxis={"tickvals": x, "ticktext": list(found.names), "zeroline": False},
        yaxis={"title": {"text": title}, "zeroline": False},
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )


def fates(
    names: Sequence[str], counts: Int[np.ndarray, "fate step"], *, dark: bool = False
) -> go.Figure:
    """How many heads stayed, moved, died and appeared at each step; `FATES` in their order."""
    paint = colours(dark=dark)
    fills = (paint.accent, paint.second, paint.warning, paint.third)
    shapes = ("", "/", "x", ".")
    bars = [
        go.Bar(
            x=list(names),
            y=row.tolist(),
            name={"matched": "matched, same depth"}.get(fate, fate),
            marker={"color": fill, "pattern": {"shape": shape, "size": 6}},
            text=[str(int(value)) if value else "" for value in row],
            textposition="outside",
            cliponaxis=False,
        )
        for fate, row, fill, shape in zip(FATES, counts, fills, shapes, strict=True)
    ]
    return figure(
        *bars,
        dark=dark,
        height=300,
        barmode="group",
        yaxis={"title": {"text": "heads"}, "rangemode": "tozero"},
        xaxis={"showgrid": False},
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
    )


def _traces(found: Film, step: int, chosen: int | None, paint: Colours) -> list[go.Scatter]:
    """The trail, the dots, and the ring around the chosen one: always three, for the frames."""
    trail_x, trail_y = ([], []) if chosen is None else found.trail(chosen, step)
    tracks = range(len(found.tracks))
    layer = found.tracks[:, step, 0]
    at = [] if chosen is None else [chosen]
    return [
        go.Scatter(
            x=trail_x,
            y=trail_y,
            mode="lines+markers",
            line={"color": paint.accent, "width": 2},
            marker={"size": 5, "color": paint.accent},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=drawn(found.x[:, step]),
            y=drawn(found.y[:, step]),
            ids=[str(track) for track in tracks],
            mode="markers",
            marker={
                "size": 11,
                "color": [max(0, int(value)) for value in layer],  # without a head: not drawn
                "cmin": 0,
                "cmax": max(1, found.n_layers - 1),
                "colorscale": list(NUMBERS),
                "line": {"width": 1, "color": paint.faint},
                "colorbar": {
                    "title": {"text": "Layer", "font": {"size": 12}},
                    "outlinewidth": 0,
                    "thickness": 12,
                    "len": 0.9,
                    "tickformat": "d",
                    "dtick": max(1, (found.n_layers - 1) // 6),
                    "tickfont": {"color": paint.faint, "size": 12},
                },
            },
            customdata=[_custom(found, track) for track in tracks],
            text=[
                _words(found, track, step, found.x[track, step], found.x_title)
                + f"<br>{found.y_title}: {number(float(found.y[track, step]))}"
                for track in tracks
            ],
            hovertemplate="%{text}<extra></extra>",
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 1}},
        ),
        go.Scatter(
            x=drawn(found.x[at, step]),
            y=drawn(found.y[at, step]),
            mode="markers",
            marker={"symbol": "circle-open", "size": 19, "color": paint.text, "line": {"width": 2}},
            hoverinfo="skip",
        ),
    ]


def _custom(found: Film, track: int) -> list[int]:
    """The head of the first checkpoint that a click on the track chooses; none: −1."""
    return [int(value) for value in found.tracks[track, 0]]


def _words(found: Film, track: int, step: int, value: float, title: str) -> str:
    head = (int(found.tracks[track, step, 0]), int(found.tracks[track, step, 1]))
    if head[0] < 0:
        return ""
    first = (int(found.tracks[track, 0, 0]), int(found.tracks[track, 0, 1]))
    came = f"{head_words(first)} in {found.names[0]}" if first[0] >= 0 else "appeared on the way"
    return "<br>".join(
        [
            f"<b>{found.names[step]}: {head_words(head)}</b>",
            came,
            f"{title}: {number(float(value))}",
        ]
    )


def _range(values: Float[np.ndarray, "track step"]) -> list[float]:
    there = values[np.isfinite(values)]
    if not len(there):
        return [0.0, 1.0]
    low, high = float(there.min()), float(there.max())
    room = 0.06 * (high - low) or 1.0
    return [low - room, high + room]


def _buttons(paint: Colours) -> dict[str, Any]:
    play = {
        "frame": {"duration": FRAME, "redraw": False},
        "transition": {"duration": PASSING, "easing": "cubic-in-out"},
        "fromcurrent": True,
        "mode": "immediate",
    }
    stop = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
    return {
        "type": "buttons",
        "direction": "left",
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 62},
        "showactive": False,
        "bgcolor": paint.ground,
        "bordercolor": paint.faint,
        "font": {"color": paint.text},
        "buttons": [
            {"label": "▶ Play", "method": "animate", "args": [None, play]},
            {"label": "❚❚ Pause", "method": "animate", "args": [[None], stop]},
        ],
    }


def _slider(names: Sequence[str], paint: Colours) -> dict[str, Any]:
    go_to = {
        "frame": {"duration": 0, "redraw": False},
        "transition": {"duration": PASSING},
        "mode": "immediate",
    }
    return {
        "x": 0.2,
        "len": 0.78,
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 52},
        "currentvalue": {"visible": False},
        "bgcolor": paint.grid,
        "activebgcolor": paint.accent,
        "bordercolor": paint.faint,
        "font": {"color": paint.text, "size": 12},
        "steps": [
            {"label": name, "method": "animate", "args": [[str(step)], go_to]}
            for step, name in enumerate(names)
        ],
    }
