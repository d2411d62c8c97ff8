"""Which head of one checkpoint is which of another: lines layer by layer, and the matrix."""

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from .palette import NUMBERS
from .template import colours, figure, head_name, head_words, number

if TYPE_CHECKING:
    from ...analysis.matching import HeadMatching, Pair

BINS = 5
"""Colours of lines, from the threshold to 1."""
PER_HEAD, LEAST = 11, 320
"""Height, px."""
MATRIX = 460

Head = tuple[int, int]


def lines(matching: "HeadMatching", *, chosen: Head | None = None, dark: bool = False) -> go.Figure:
    """Heads of both by depth, with a line for each match; colour: score, dots: moved."""
    paint = colours(dark=dark)
    heights = [
        _heights(heads, n)
        for heads, n in zip((matching.heads_a, matching.heads_b), matching.n_layers, strict=True)
    ]
    edges = np.linspace(min(matching.threshold, 0.999), 1, BINS + 1)
    traces: list[go.Scatter] = []
    for place in range(BINS):
        low, high = edges[place], edges[place + 1]
        last = place == BINS - 1
        for moved in (False, True):
            within = [
                pair
                for pair in matching.pairs
                if pair.moved == moved
                and pair.first != chosen
                and low <= pair.score
                and (last or pair.score < high)
            ]
            if within:
                name = f"{low:.2f}–{high:.2f}" + (", moved" if moved else "")
                colour = _at((place + 0.5) / BINS, dark=dark)
                traces.append(_lines(within, heights, name, colour, moved=moved))
    front = [pair for pair in matching.pairs if pair.first == chosen]
    if front:
        traces.append(
            _lines(front, heights, "chosen head", paint.accent, moved=front[0].moved, width=4)
        )
    if matching.died or matching.appeared:
        traces.append(_key_of_alone(paint))
    by_first = {pair.first: pair for pair in matching.pairs}
    by_second = {pair.second: pair for pair in matching.pairs}
    traces += [
        _heads(0, heights[0], by_first, matching, paint, alone="died"),
        _heads(1, heights[1], by_second, matching, paint, alone="appeared"),
    ]
    most = max(len(matching.heads_a), len(matching.heads_b))
    return figure(
        *traces,
        dark=dark,
        height=max(LEAST, 80 + PER_HEAD * most),
        xaxis={
            "range": [-0.12, 1.12],
            "tickvals": [0, 1],
            "ticktext": [f"A · {matching.first}", f"B · {matching.second}"],
            "side": "top",
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "tickfont": {"size": 13, "color": paint.text},
        },
        yaxis=_depth(matching.n_layers[0], "layer of A", "left"),
        yaxis2=_depth(matching.n_layers[1], "layer of B", "right") | {"overlaying": "y"},
        legend={
            "y": -0.02,
            "yanchor": "top",
            "title": {"text": "Score (0…1)  ", "font": {"size": 12}},
        },
        hoverdistance=20,
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 30, "b": 8},
    )


def matrix(
    matching: "HeadMatching",
    values: Float[np.ndarray, "a b"],
    label: str,
    *,
    chosen: Head | None = None,
    dark: bool = False,
) -> go.Figure:
    """The similarity of every head of A with every head of B; squares: matches, crosses: assigned
    below the threshold."""
    paint = colours(dark=dark)
    names_a = [head_name(tuple(head)) for head in matching.heads_a.tolist()]
    names_b = [head_name(tuple(head)) for head in matching.heads_b.tolist()]
    cells = go.Heatmap(
        x=names_b,
        y=names_a,
        z=[[float(v) if np.isfinite(v) else None for v in row] for row in values],
        zmin=0,
        zmax=1,
        colorscale=list(NUMBERS),
        hovertemplate=f"A %{{y}} · B %{{x}}<br>{label} %{{z:.2f}}<extra></extra>",
        hoverongaps=False,
        colorbar={
            "title": {"text": f"{label}<br>(0…1)", "font": {"size": 12}},
            "outlinewidth": 0,
            "thickness": 12,
            "len": 0.9,
            "tickfont": {"color": paint.faint, "size": 12},
        },
    )
    partner = matching.partner
    traces: list[Any] = [cells]
    for symbol, wanted in (("square-open", True), ("x-thin-open", False)):
        pairs = [
            (a, b)
            for a, b in matching.assigned.tolist()
            if (tuple(matching.heads_a[a].tolist()) in partner) == wanted
        ]
        heads = [tuple(matching.heads_a[a].tolist()) for a, _ in pairs]
        # The upper end of the scale is light, in either theme.
        inks = ["#16202b" if values[a, b] > 0.6 else "#ffffff" for a, b in pairs]
        traces.append(
            go.Scatter(
                x=[names_b[b] for _, b in pairs],
                y=[names_a[a] for a, _ in pairs],
                mode="markers",
                name="matched" if wanted else "assigned, below the threshold",
                marker={
                    "symbol": symbol,
                    "size": 9,
                    "color": inks,
                    "line": {
                        "width": [3 if head == chosen else 1.5 for head in heads],
                        "color": inks,
                    },
                },
                customdata=[list(head) for head in heads],
                text=[
                    f"<b>A {names_a[a]} · B {names_b[b]}</b><br>{label} "
                    f"{number(float(values[a, b]))}<br>{'matched' if wanted else 'no match'}"
                    for a, b in pairs
                ],
                hovertemplate="%{text}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    return figure(
        *traces,
        dark=dark,
        height=MATRIX,
        showlegend=False,
        xaxis={"title": {"text": "head of B"}, "showgrid": False, "tickangle": -90},
        yaxis={"title": {"text": "head of A"}, "showgrid": False, "autorange": "reversed"},
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )


def _heights(heads: np.ndarray, n_layers: int) -> dict[Head, float]:
    """Where each head stands: layers over each other, heads side by side within a layer."""
    counts = np.bincount(heads[:, 0], minlength=n_layers)
    return {
        (layer, head): (layer + (head + 0.5) / counts[layer] * 0.8 + 0.1) / n_layers
        for layer, head in heads.tolist()
    }


def _depth(n_layers: int, title: str, side: str) -> dict[str, Any]:
    every = max(1, n_layers // 12)
    shown = range(0, n_layers, every)
    return {
        "range": [1, 0],
        "tickvals": [(layer + 0.5) / n_layers for layer in shown],
        "ticktext": [str(layer) for layer in shown],
        "title": {"text": title},
        "side": side,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }


def _lines(
    pairs: "list[Pair]",
    heights: list[dict[Head, float]],
    name: str,
    colour: str,
    *,
    moved: bool,
    width: float = 2,
) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for pair in pairs:
        x += [0, 1, None]
        y += [heights[0][pair.first], heights[1][pair.second], None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name=name,
        line={"color": colour, "width": width, "dash": "dot" if moved else "solid"},
        hoverinfo="skip",
    )


def _key_of_alone(paint: Any) -> go.Scatter:
    """What stands in the legend for heads without a match."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        name="no match: died in A, appeared in B",
        marker={
            "symbol": "circle-open",
            "size": 8,
            "color": paint.warning,
            "line": {"width": 2},
        },
    )


def _heads(
    side: int,
    heights: dict[Head, float],
    pairs: "dict[Head, Pair]",
    matching: "HeadMatching",
    paint: Any,
    *,
    alone: str,
) -> go.Scatter:
    heads = list(heights)
    goes = [
        pairs[head].first if head in pairs else head if side == 0 else (-1, -1) for head in heads
    ]
    return go.Scatter(
        x=[side] * len(heads),
        y=list(heights.values()),
        yaxis="y2" if side else "y",
        mode="markers",
        showlegend=False,
        marker={
            "size": 8,
            "symbol": ["circle" if head in pairs else "circle-open" for head in heads],
            "color": [paint.text if head in pairs else paint.warning for head in heads],
            "line": {"width": 2},
        },
        customdata=[list(head) for head in goes],
        text=[_words(side, head, pairs.get(head), matching, alone) for head in heads],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _words(side: int, head: Head, pair: "Pair | None", matching: "HeadMatching", alone: str) -> str:
    lines = [f"<b>{'AB'[side]}: {head_words(head)}</b>"]
    if pair is None:
        other, score = matching.closest(head, of_second=side == 1)
        lines += [f"{alone}: no match", f"closest: {head_name(other)}, score {number(score)}"]
    else:
        other = pair.second if side == 0 else pair.first
        lines.append(f"↔ {'BA'[side]}: {head_words(other)}{', moved' if pair.moved else ''}")
        lines.append(f"score {number(pair.score)}")
        lines += [f"{name} {number(value)}" for name, value in pair.criteria.items()]
    return "<br>".join(lines)


def _at(share: float, *, dark: bool) -> str:
    # The palest end of the scale vanishes on white, the darkest on black.
    low, high = (0.25, 1.0) if dark else (0.0, 0.8)
    place = low + share * (high - low)
    return NUMBERS[round(place * (len(NUMBERS) - 1))]
