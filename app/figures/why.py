"""Heads by two of their numbers and a third as colour: why are the important ones important?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .palette import NUMBERS, SIGNED
from .template import colours, drawn, figure, head_words, number

KINDS = ("#0b63ce", "#d9822b", "#0f8a6d", "#b0305c", "#7a5cc4", "#8a6d1f", "#3aa6c9", "#6a7683")
"""Of categories, in their order; what comes after the last is grey."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "pentagon", "x")
"""Beside the colours: eight hues are more than some can tell apart."""


@dataclass(frozen=True, eq=False)
class Axis:
    """A number of every head, mean over images."""

    label: str
    unit: str
    values: Float[np.ndarray, "layer head"]
    """NaN where there is none."""
    signed: bool = False

    @property
    def title(self) -> str:
        return f"{self.label}<br>({self.unit})" if self.unit else self.label


@dataclass(frozen=True, eq=False)
class Kinds:
    """What sort of head each is, in words."""

    label: str
    names: Sequence[str]
    """In the order of their colours."""
    of_head: np.ndarray
    """`layer head`: index into `names`, −1 where there is none."""


def chart(
    x: Axis,
    y: Axis,
    colour: Axis | Kinds,
    *,
    chosen: tuple[int, int] | None = None,
    marked: Sequence[tuple[int, int]] = (),
    dark: bool = False,
) -> go.Figure:
    """One dot a head, its layer and head in the custom data; `chosen` and `marked` have rings."""
    paint = colours(dark=dark)
    there = np.argwhere(np.isfinite(x.values) & np.isfinite(y.values))
    heads = [(int(layer), int(head)) for layer, head in there]
    traces: list[go.Scatter] = []
    for ring, size, width, name in (
        (tuple(marked), 15, 1.5, "marked"),
        ((chosen,) if chosen else (), 18, 2, "chosen head"),
    ):
        at = [head for head in ring if head in heads]
        if at:
            traces.append(
                go.Scatter(
                    x=drawn([x.values[head] for head in at]),
                    y=drawn([y.values[head] for head in at]),
                    mode="markers",
                    marker={
                        "symbol": "circle-open",
                        "size": size,
                        "color": paint.text,
                        "line": {"width": width},
                    },
                    name=name,
                    hoverinfo="skip",
                )
            )
    dots = _of_kinds if isinstance(colour, Kinds) else _of_number
    traces += dots(x, y, colour, heads, dark=dark)  # pyright: ignore[reportArgumentType]
    return figure(
        *traces,
        dark=dark,
        height=460,
        xaxis={"title": {"text": x.title}, "zeroline": x.signed},
        yaxis={"title": {"text": y.title}, "zeroline": True},
        showlegend=True,
        clickmode="event+select",
    )


def _of_number(
    x: Axis, y: Axis, colour: Axis, heads: list[tuple[int, int]], *, dark: bool
) -> list[go.Scatter]:
    without = [head for head in heads if not np.isfinite(colour.values[head])]
    heads = [head for head in heads if head not in without]
    values = np.array([colour.values[head] for head in heads], float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if colour.signed:
        high = max(abs(low), abs(high))
        low = -high
    paint = colours(dark=dark)
    marker = {
        "size": 10,
        "color": drawn(values),
        "cmin": low,
        "cmax": high if high > low else low + 1,
        "colorscale": list(SIGNED if colour.signed else NUMBERS),
        "line": {"width": 1, "color": paint.faint if dark else paint.ground},
        "colorbar": {
            "title": {"text": colour.title, "font": {"size": 12}},
            "outlinewidth": 0,
            "thickness": 12,
            "len": 0.9,
            "tickfont": {"color": paint.faint, "size": 12},
        },
    }
    if not np.any(values % 1):
        marker["colorbar"]["tickformat"] = "d"
    words = [f"{colour.label.lower()} {number(float(value))}" for value in values]
    dots = _dots(x, y, heads, words, "heads", marker)
    dots.showlegend = False  # the bar tells
    if not without:
        return [dots]
    grey = {"size": 10, "color": paint.faint, "opacity": 0.6}
    words = [f"{colour.label.lower()}: no number"] * len(without)
    return [dots, _dots(x, y, without, words, "no number", grey)]


def _of_kinds(
    x: Axis, y: Axis, colour: Kinds, heads: list[tuple[int, int]], *, dark: bool
) -> list[go.Scatter]:
    paint = colours(dark=dark)
    traces = []
    for kind in [*range(len(colour.names)), -1]:
        of_kind = [head for head in heads if colour.of_head[head] == kind]
        if not of_kind:
            continue
        name = colour.names[kind] if kind >= 0 else "none"
        known = 0 <= kind < len(KINDS)
        marker = {
            "size": 10,
            "color": KINDS[kind] if known else paint.faint,
            "symbol": SYMBOLS[kind] if known else "circle",
            "line": {"width": 1, "color": paint.faint if dark else paint.ground},
        }
        words = [f"{colour.label.lower()}: {name}"] * len(of_kind)
        traces.append(_dots(x, y, of_kind, words, name, marker))
    return traces


def _dots(
    x: Axis, y: Axis, heads: list[tuple[int, int]], words: list[str], name: str, marker: dict
) -> go.Scatter:
    return go.Scatter(
        x=drawn([x.values[head] for head in heads]),
        y=drawn([y.values[head] for head in heads]),
        mode="markers",
        marker=marker,
        name=name,
        customdata=[list(head) for head in heads],
        text=[
            "<br>".join(
                [
                    f"<b>{head_words(head)}</b>",
                    f"{y.label}: {number(float(y.values[head]))} {y.unit}",
                    f"{x.label}: {number(float(x.values[head]))} {x.unit}",
                    more,
                ]
            )
            for head, more in zip(heads, words, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )
