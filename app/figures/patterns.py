"""Patterns: maps as dots of the latent space, heads' shares of patterns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Int

from .palette import NUMBERS, SIGNED
from .template import colours, figure, head_name, head_words, number
from .why import KINDS, SYMBOLS

Head = tuple[int, int]
MOST_DOTS = 2500
"""Drawn at most: a box around more takes the browser seconds to tell."""
NONE_NAME = "no pattern"
_QUANTILE = 0.99
GREY = "#8a949e"
_GREY: dict[str, Any] = {"color": GREY, "symbol": "circle", "opacity": 0.5}


def colour_of(kind: int) -> str:
    """Of a category; after the last hue they begin again, with other symbols."""
    return KINDS[kind % len(KINDS)]


def symbol_of(kind: int) -> str:
    """Beside the colour: two categories never share both."""
    return SYMBOLS[(kind + kind // len(KINDS)) % len(SYMBOLS)]


@dataclass(frozen=True, eq=False)
class Dots:
    """Maps in the plane."""

    points: Float[np.ndarray, "dot 2"]
    heads: Int[np.ndarray, "dot 2"]
    """Layer and head."""
    places: Int[np.ndarray, " dot"]
    """Index of the image in the study; −1 where it is not there."""
    images: Sequence[str]
    """Name of the image of each."""
    patterns: Sequence[str]
    """Name of the pattern of each."""

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: Int[np.ndarray, " row"]) -> "Dots":
        """Some of the dots."""
        at: list[int] = [int(row) for row in rows]
        return Dots(
            self.points[rows],
            self.heads[rows],
            self.places[rows],
            [self.images[row] for row in at],
            [self.patterns[row] for row in at],
        )


@dataclass(frozen=True, eq=False)
class Amount:
    """A number of each dot."""

    label: str
    unit: str
    values: Float[np.ndarray, " dot"]
    signed: bool = False


@dataclass(frozen=True, eq=False)
class Sort:
    """A category of each dot."""

    label: str
    names: Sequence[str]
    values: Int[np.ndarray, " dot"]
    """Index into the names; −1 none."""
    none: str = NONE_NAME


def sample(n: int, always: Bool[np.ndarray, " dot"], most: int = MOST_DOTS) -> np.ndarray:
    """At most so many dots, the same ones each time, and those that are always drawn."""
    if n <= most:
        return np.arange(n)
    drawn = np.random.default_rng(0).choice(n, most, replace=False)
    return np.union1d(drawn, np.flatnonzero(always))


def chart(
    dots: Dots,
    colour: Amount | Sort,
    axes: tuple[str, str],
    *,
    chosen: Head | None = None,
    marked: Sequence[Head] = (),
    own: Dots | None = None,
    own_words: str = "this picture",
    dark: bool = False,
) -> go.Figure:
    """One dot a head and image; layer, head and the image's place in the study as custom data.

    The maps of the chosen head have rings. `own` are maps that the patterns were not learned from.
    """
    paint = colours(dark=dark)
    dense = len(dots) > 400
    traces: list[Any] = []
    parts = _of_sort if isinstance(colour, Sort) else _of_amount
    parts = parts(dots, colour, dark=dark)  # pyright: ignore[reportArgumentType]
    for rows, name, marker, words in parts:
        traces.append(_trace(dots.take(rows), name, words, 5 if dense else 8, marker))
        traces[-1].showlegend = isinstance(colour, Sort) or "colorbar" not in marker
    for which, name, ink in ((marked, "marked", paint.faint), ((chosen,), "chosen head", None)):
        wanted = {head for head in which if head is not None}
        rows = np.array(
            [i for i, head in enumerate(dots.heads.tolist()) if tuple(head) in wanted], int
        )
        if len(rows):
            ring = {
                "symbol": "circle-open",
                "size": 9 if dense else 13,
                "color": ink or paint.text,
                "line": {"width": 1.2 if dense else 2},
            }
            traces.append(
                go.Scattergl(
                    x=dots.points[rows, 0].tolist(),
                    y=dots.points[rows, 1].tolist(),
                    mode="markers",
                    name=name,
                    marker=ring,
                    hoverinfo="skip",
                )
            )
    if own is not None and len(own):
        size = [14 if tuple(head) == chosen else 9 for head in own.heads.tolist()]
        marker = {
            "symbol": "diamond",
            "color": paint.ground,
            "line": {"color": paint.text, "width": 1.5},
        }
        traces.append(_trace(own, own_words, list(own.patterns), size, marker))
    return figure(
        *traces,
        dark=dark,
        height=470,
        xaxis={"title": {"text": axes[0]}, "zeroline": False},
        yaxis={"title": {"text": axes[1]}, "zeroline": False, "scaleanchor": "x"},
        showlegend=True,
        clickmode="event+select",
        hovermode="closest",
    )


def _trace(dots: Dots, name: str, words: Sequence[str], size: Any, marker: dict) -> go.Scattergl:
    return go.Scattergl(
        x=dots.points[:, 0].tolist(),
        y=dots.points[:, 1].tolist(),
        mode="markers",
        name=name,
        marker={"size": size, **marker},
        customdata=[
            [*head, place]
            for head, place in zip(dots.heads.tolist(), dots.places.tolist(), strict=True)
        ],
        text=[f"{image}<br>{more}" for image, more in zip(dots.images, words, strict=True)],
        hovertemplate="<b>Layer %{customdata[0]}, head %{customdata[1]}</b><br>%{text}"
        "<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


Part = tuple[np.ndarray, str, dict[str, Any], list[str]]


def _of_sort(dots: Dots, colour: Sort, *, dark: bool) -> list[Part]:
    _ = dark  # hues of categories are seen on both grounds
    parts: list[Part] = []
    for kind in [*range(len(colour.names)), -1]:
        rows = np.flatnonzero(colour.values == kind)
        if not len(rows):
            continue
        name = colour.names[kind] if kind >= 0 else colour.none
        marker = {"color": colour_of(kind), "symbol": symbol_of(kind), "opacity": 0.8}
        if kind < 0:
            marker = _GREY
        words = [dots.patterns[row] for row in rows.tolist()]
        if words != [name] * len(words):
            words = [f"{word}<br>{colour.label.lower()}: {name}" for word in words]
        parts.append((rows, name, marker, words))
    return parts


def ends(colour: Amount) -> tuple[float, float]:
    """Of the colours: one value in a hundred lies beyond and has the colour of the end."""
    seen = colour.values[np.isfinite(colour.values)]
    if not len(seen):
        return 0.0, 1.0
    if colour.signed:
        high = float(np.quantile(np.abs(seen), _QUANTILE)) or float(np.abs(seen).max()) or 1.0
        return -high, high
    low, high = float(seen.min()), float(np.quantile(seen, _QUANTILE))
    return low, high if high > low else low + 1


def _of_amount(dots: Dots, colour: Amount, *, dark: bool) -> list[Part]:
    paint = colours(dark=dark)
    low, high = ends(colour)
    title = f"{colour.label}<br>({colour.unit})" if colour.unit else colour.label
    bar: dict[str, Any] = {
        "title": {"text": title, "font": {"size": 12}, "side": "right"},
        "outlinewidth": 0,
        "thickness": 12,
        "len": 0.9,
        "tickfont": {"color": paint.faint, "size": 12},
    }
    known, unknown = (
        np.flatnonzero(np.isfinite(colour.values) == there) for there in (True, False)
    )
    if not np.any(colour.values[known] % 1):
        bar["tickformat"] = "d"
    marker = {
        "color": colour.values[known].tolist(),
        "cmin": low,
        "cmax": high,
        "colorscale": list(SIGNED if colour.signed else NUMBERS),
        "colorbar": bar,
        # The middle of a signed scale is as pale as the ground.
        "line": {"width": 0.5, "color": paint.faint},
    }
    words = [
        f"{pattern}<br>{colour.label.lower()}: {number(float(value))} {colour.unit}"
        for pattern, value in zip(dots.patterns, colour.values, strict=True)
    ]
    parts: list[Part] = [(known, "heads", marker, [words[row] for row in known.tolist()])]
    if len(unknown):
        rest = [dots.patterns[row] for row in unknown.tolist()]
        parts.append((unknown, "no number", _GREY, rest))
    return parts


def shares_chart(
    heads: Sequence[Head],
    shares: Float[np.ndarray, "head cluster"],
    names: Sequence[str],
    *,
    chosen: Head | None = None,
    n_images: int,
    dark: bool = False,
) -> go.Figure:
    """A stacked bar a head: in which share of its images its map is which pattern."""
    paint = colours(dark=dark)
    rest = np.clip(1 - shares.sum(1), 0, 1)
    columns = [(name, shares[:, i], colour_of(i), i) for i, name in enumerate(names)]
    if (rest > 1e-9).any():
        columns.append((NONE_NAME, rest, "#8a949e", 0))
    traces = []
    for name, values, colour, kind in columns:
        if not (values > 0).any():
            continue
        again = "/" if kind >= len(KINDS) else ""
        traces.append(
            go.Bar(
                x=[float(value) for value in values],
                y=list(range(len(heads))),
                orientation="h",
                name=name,
                marker={
                    "color": colour,
                    "line": {"color": paint.ground, "width": 1},
                    "pattern": {"shape": again, "solidity": 0.25},
                },
                customdata=[list(head) for head in heads],
                text=[
                    f"<b>{head_words(head)}</b><br>{name}: {number(100 * float(value))} % of "
                    f"{n_images:,} image{'s' * (n_images != 1)}"
                    for head, value in zip(heads, values, strict=True)
                ],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    labels = [f"<b>{head_name(head)}</b>" if head == chosen else head_name(head) for head in heads]
    return figure(
        *traces,
        dark=dark,
        height=90 + 24 * len(heads),
        barmode="stack",
        bargap=0.25,
        xaxis={"title": {"text": "share of images"}, "tickformat": ".0%", "range": [0, 1]},
        yaxis={
            "tickvals": list(range(len(heads))),
            "ticktext": labels,
            "autorange": "reversed",
            "showgrid": False,
            "fixedrange": True,
        },
        showlegend=False,
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )


def head_rows(heads: Any, names: Sequence[str], n_images: int) -> list[dict[str, Any]]:
    """One row a head, one column a pattern; `heads` are `HeadPatterns` of one checkpoint."""
    return [
        {
            "layer": int(layer),
            "head": int(head),
            "name": head_name((int(layer), int(head))),
            "images": n_images,
            "pattern": names[heads.modal[i]] if heads.modal[i] >= 0 else NONE_NAME,
            "stability": float(heads.stability[i]),
            "entropy_nats": float(heads.entropy[i]),
            **{f"share {name}": float(heads.shares[i, k]) for k, name in enumerate(names)},
        }
        for i, (_, layer, head) in enumerate(heads.heads.tolist())
    ]
