"""A chart of the page as it is printed: one size of text, light, sharp, ends of scales told.

The chart is laid out in its own pixels, in which all text is `TEXT` px high, on a sheet of so
many of them that the text comes out in the size that was asked for; then all of it is scaled as
one: lines, marks and gaps stay in proportion to the text.
"""

import json
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from ..figures import palette, synergy
from ..figures.template import DARK, FONT, LIGHT, number
from .sheet import BACKGROUNDS, FONTS, Sheet

TEXT = 13
"""Pixels of all text, before the sheet is scaled."""
_EM = 0.5
"""Mean width of a character, in heights of the text."""
_CELLS = 4000
"""Cells of a heatmap that are drawn as shapes, which stay sharp in every viewer."""
_DOTS = 20_000
"""Dots that are drawn as shapes."""
_NARROW = 600
"""Pixels for which heights of charts on the page are made."""


def pixels(sheet: Sheet) -> int:
    """Width of the chart before it is scaled."""
    return round(sheet.width_mm / 25.4 * 72 * TEXT / sheet.font_size)


def size(sheet: Sheet, figure: go.Figure, *, keep_height: bool = False) -> tuple[int, int]:
    """Width and height in pixels of the chart, before it is scaled."""
    width = pixels(sheet)
    if sheet.height_mm is not None:
        return width, max(40, round(width * sheet.height_mm / sheet.width_mm))
    own = float(figure.layout.height or 380)  # pyright: ignore[reportAttributeAccessIssue]
    if keep_height:
        height = own
    elif own <= 480:
        height = min(own, 0.8 * width)
    else:
        height = own * min(1.0, width / _NARROW)
    extra = 0 if not sheet.letter else 18
    return width, round(height) + extra


def printed(figure: go.Figure, sheet: Sheet, *, keep_height: bool = False) -> go.Figure:
    """The chart in its own pixels, ready to be scaled onto the sheet."""
    width, height = size(sheet, figure, keep_height=keep_height)
    spec = json.loads(_light(figure.to_json()))  # pyright: ignore[reportArgumentType]
    layout = spec["layout"]
    theme = layout.setdefault("template", {}).setdefault("layout", {})
    _texts(spec, FONTS[sheet.font])
    theme.pop("hoverlabel", None)
    layout.update(
        width=width,
        height=height,
        autosize=False,
        paper_bgcolor=BACKGROUNDS[sheet.background],
        plot_bgcolor="rgba(0,0,0,0)",
    )
    layout["font"] = {"family": FONTS[sheet.font], "size": TEXT, "color": LIGHT.text}
    shapes: list[dict[str, Any]] = []
    for place, trace in enumerate(spec["data"]):
        trace["uid"] = f"t{place}"
        trace.pop("customdata", None)
        if trace.get("type") == "scattergl" and len(trace.get("x") or ()) <= _DOTS:
            trace["type"] = "scatter"
        _scales(trace, sheet, height)
        if trace.get("type") == "heatmap":
            shapes += _cells(trace, layout)
        elif trace.get("type") in ("scatter", "bar"):
            trace.pop("text", None)
    named = [t for t in spec["data"] if t.get("showlegend") is not False and t.get("name")]
    if len(named) == 1:  # a legend of one tells nothing that the caption does not
        layout["showlegend"] = False
    layout["shapes"] = shapes + list(layout.get("shapes", ()))
    _axes(layout, width, height)
    margin = {**theme.get("margin", {}), **layout.get("margin", {})}
    margin["r"] = max(margin.get("r", 0), 20)  # half of a last label, "100 %"
    if layout.get("showlegend") is False and not layout.get("annotations"):
        margin["t"] = min(margin.get("t", 36), 10)  # there is nothing above the chart
    layout["margin"] = margin
    bars = [trace.get("marker", {}).get("colorbar") for trace in spec["data"]]
    _fit_square(layout, [bar for bar in bars if bar], width, height)
    if sheet.letter:
        _letter(layout, theme, sheet.letter)
    return go.Figure(spec)


def _light(text: str) -> str:
    """The same chart in the colours of the light page."""
    for name in ("text", "faint", "grid", "ground", "accent", "second", "third", "warning", "band"):
        text = text.replace(f'"{getattr(DARK, name)}"', f'"{getattr(LIGHT, name)}"')
    for dark, light in zip(
        synergy.DARK, [palette.SIGNED[i] for i in (0, 3, 5, 7, 10)], strict=True
    ):
        text = text.replace(f'"{dark}"', f'"{light}"')
    return text


def _texts(part: Any, family: str) -> None:
    """One size and family for all text."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key.endswith("font") and isinstance(value, dict):
                if "size" in value:
                    value["size"] = TEXT
                if value.get("family") == FONT:
                    value["family"] = family
                if value.get("color") == LIGHT.faint:
                    value["color"] = LIGHT.text  # grey text of 7 points is hard to read on paper
            _texts(value, family)
    elif isinstance(part, list):
        for value in part:
            if isinstance(value, (dict, list)):
                _texts(value, family)


# -- colours ---------------------------------------------------------------------------------------


def _scales(trace: dict[str, Any], sheet: Sheet, height: int) -> None:
    """The palette, the range that was asked for, and ends beside every colour bar."""
    ends = {"heatmap": ("zmin", "zmax")}.get(trace.get("type", ""), ("cmin", "cmax"))
    holder = trace if "zmin" in ends else trace.get("marker", {})
    colours = holder.get("colorscale")
    if not colours:
        return
    holder["colorscale"] = _palette(colours, sheet)
    low, high = (holder.get(end) for end in ends)
    bar = holder.get("colorbar")
    if low is None or high is None:
        return
    if sheet.limits is not None and (bar is None or "ticktext" not in bar):
        low, high = sheet.limits
        holder.update(zip(ends, (low, high), strict=True))
    if bar is None:
        return
    if "tickvals" not in bar:
        bar["tickvals"], bar["ticktext"] = _ticks(float(low), float(high), bar.get("tickformat"))
        bar.pop("tickformat", None)
    bar["ticklabeloverflow"] = "allow"
    bar["tickfont"] = {"size": TEXT, "color": LIGHT.text}
    title = bar.get("title") or {}
    words = title.get("text", "") if isinstance(title, dict) else str(title)
    if bar.get("orientation") != "h":
        share = bar["len"] if "y" in bar and "len" in bar else 1.0
        bar.update(thickness=10, xpad=6, ypad=0, len=share)
        limit = max(60, (height - 80) * share)
        bar["title"] = {
            "text": wrapped(words, limit),
            "side": "right",
            "font": {"size": TEXT, "color": LIGHT.text},
        }


def _palette(colours: Any, sheet: Sheet) -> Any:
    """The scale in the sheet's palette; one that is neither, as it is."""
    plain = [each[1] if isinstance(each, (list, tuple)) else each for each in colours]
    known = {
        tuple(palette.NUMBERS): sheet.numbers_colours,
        tuple(palette.ATTENTION): sheet.numbers_colours,
        tuple(palette.SIGNED): sheet.signed_colours,
    }
    chosen = known.get(tuple(plain))
    if chosen is None:
        return colours
    return [[i / (len(chosen) - 1), colour] for i, colour in enumerate(chosen)]


def _ticks(low: float, high: float, form: str | None) -> tuple[list[float], list[str]]:
    """Both ends, and round numbers between that do not touch them."""
    if form == "d" and high - low <= 8:
        inner = [float(v) for v in range(math.ceil(low), math.floor(high) + 1)]
        return inner, [f"{v:.0f}" for v in inner]
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step = next(step * k for k in (1, 2, 5, 10) if (high - low) / (step * k) <= 4.5)
    first = math.ceil(low / step)
    inner = [step * i for i in range(first, math.floor(high / step) + 1)]
    room = 0.11 * (high - low)
    inner = [value for value in inner if low + room < value < high - room]
    values = [low, *inner, high]
    if form and "%" in form:
        return values, [f"{number(100 * value)} %" for value in values]
    if form == "d":
        return values, [f"{value:.0f}" for value in values]
    return values, [number(0.0 if abs(value) < 1e-12 * step else value) for value in values]


# -- cells -----------------------------------------------------------------------------------------


def _cells(trace: dict[str, Any], layout: dict[str, Any]) -> list[dict[str, Any]]:
    """A heatmap's cells as shapes; the trace stays for its colour bar."""
    values = trace.get("z")
    ends = trace.get("zmin"), trace.get("zmax")
    if not isinstance(values, list) or None in ends or trace.get("opacity") == 0:
        return []
    z = np.array([[np.nan if v is None else v for v in row] for row in values], float)
    if not z.size or z.size > _CELLS:
        return []
    low, high = (float(end) for end in ends if end is not None)
    share = np.clip((z - low) / ((high - low) or 1.0), 0, 1)
    flat = np.nan_to_num(share).ravel().tolist()
    inks = np.array(sample_colorscale(trace["colorscale"], flat)).reshape(z.shape)
    sides = []
    for name, gap in (("x", "xgap"), ("y", "ygap")):
        given, n = trace.get(name), z.shape[1 if name == "x" else 0]
        at = list(range(n))
        if isinstance(given, list) and given and not isinstance(given[0], str):
            at = [float(value) for value in given]
        half = (at[1] - at[0]) / 2 if n > 1 else 0.5
        sides.append((at, half * (0.94 if trace.get(gap) else 1.0)))
    (xs, dx), (ys, dy) = sides
    x_axis, y_axis = trace.get("xaxis", "x"), trace.get("yaxis", "y")
    seam = 0 if trace.get("xgap") else 0.4
    shapes = [
        {
            "type": "rect",
            "layer": "between",
            "xref": x_axis,
            "yref": y_axis,
            "x0": xs[column] - dx,
            "x1": xs[column] + dx,
            "y0": ys[row] - dy,
            "y1": ys[row] + dy,
            "fillcolor": str(inks[row, column]),
            "line": {"width": seam, "color": str(inks[row, column])},
        }
        for row, column in np.argwhere(np.isfinite(z)).tolist()
    ]
    bar = trace.get("colorbar") if trace.get("showscale", True) else None
    keep = {name: trace[name] for name in ("uid", "colorscale", "xaxis", "yaxis") if name in trace}
    trace.clear()
    trace |= _only_bar(keep, (low, high), (xs[0], ys[0]), bar)
    for name, (at, _) in zip((x_axis, y_axis), sides, strict=True):
        axis = layout.setdefault(f"{name[0]}axis{name[1:]}", {})
        if "range" not in axis:  # the trace has no cells left to find it from
            half = (at[1] - at[0]) / 2 if len(at) > 1 else 0.5
            span = [at[0] - half, at[-1] + half]
            turned = axis.pop("autorange", None) == "reversed"
            axis["range"] = span[::-1] if turned else span
    return shapes


def _only_bar(
    keep: dict[str, Any], ends: tuple[float, float], at: tuple[float, float], bar: Any
) -> dict[str, Any]:
    """A dot that is not seen, with the colour bar of the cells."""
    scale = {"cmin": ends[0], "cmax": ends[1], "colorscale": keep.pop("colorscale")}
    marker = {"opacity": 0, "size": 1, "color": [ends[0]], **scale, "showscale": bar is not None}
    if bar is not None:
        marker["colorbar"] = bar
    place = {"x": [at[0]], "y": [at[1]], "mode": "markers", "showlegend": False}
    return {"type": "scatter", **keep, **place, "marker": marker}


# -- text ------------------------------------------------------------------------------------------


def wrapped(text: str, limit: float) -> str:
    """Text in lines of at most so many pixels, more or less."""
    most = max(6, int(limit / (_EM * TEXT)))
    lines: list[str] = []
    for line in text.split("<br>"):
        words, now = line.split(" "), ""
        for word in words:
            longer = f"{now} {word}".strip()
            if now and len(longer) > most:
                lines.append(now)
                now = word
            else:
                now = longer
        lines.append(now)
    return "<br>".join(lines)


def _axes(layout: dict[str, Any], width: int, height: int) -> None:
    """Axis titles no longer than their axes; a frame of ticks that prints."""
    for name, axis in layout.items():
        if name[:5] not in ("xaxis", "yaxis") or not isinstance(axis, dict):
            continue
        low, high = axis.get("domain", (0, 1))
        room = (width - 110 if name[0] == "x" else height - 90) * (high - low)
        title = axis.get("title")
        if isinstance(title, dict) and title.get("text"):
            title["text"] = wrapped(title["text"], max(room, 60))
        if axis.get("type") == "log" and axis.pop("dtick", None) == "D2":
            values = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]
            axis.update(tickvals=values, ticktext=[number(value) for value in values])
    spans = [
        tuple(axis.get("domain", (0, 1)))
        for name, axis in layout.items()
        if name.startswith("xaxis") and isinstance(axis, dict)
    ]
    for note in layout.get("annotations", ()):
        if note.get("xref") == "paper" and note.get("text"):
            around = [high - low for low, high in spans if low <= note.get("x", 0) <= high]
            note["text"] = wrapped(note["text"], (width - 90) * max(around, default=1))


def _fit_square(
    layout: dict[str, Any], bars: list[dict[str, Any]], width: int, height: int
) -> None:
    """One plot of a fixed shape takes no more width than it needs: its colour bar stays near."""
    x, y = layout.get("xaxis", {}), layout.get("yaxis", {})
    ratio = y.get("scaleratio", 1)
    if "scaleanchor" not in y or "xaxis2" in layout or not {"range"} <= set(x) & set(y):
        return
    across, down = (abs(axis["range"][1] - axis["range"][0]) for axis in (x, y))
    margin = layout["margin"]
    tall = height - margin.get("t", 0) - margin.get("b", 0) - 44
    share = tall / ratio / down * across / (width - 150)
    if share >= 0.95:
        return
    left = (1 - share) / 2
    x["domain"] = [left, left + share]
    for bar in bars:
        bar.update(x=left + share, xanchor="left")


def _letter(layout: dict[str, Any], theme: dict[str, Any], letter: str) -> None:
    margin = {**theme.get("margin", {}), **layout.get("margin", {})}
    layout["margin"] = margin | {"t": margin.get("t", 36) + 18}
    layout["title"] = {
        "text": f"<b>{letter}</b>",
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"l": 2, "t": 2},
        "font": {"size": TEXT + 2, "color": LIGHT.text},
    }
