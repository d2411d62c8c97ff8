"""What is drawn in a chart, as rows: for charts that come with no table of their own."""

from typing import Any

import numpy as np
import plotly.graph_objects as go


def rows_of(figure: go.Figure) -> list[dict[str, Any]]:
    """One row a mark, in the order in which they are drawn; marks without a place are left out."""
    rows: list[dict[str, Any]] = []
    for place, trace in enumerate(figure.data):
        name = trace.name or f"trace {place + 1}"
        rows += _cells(trace, name) if trace.type == "heatmap" else _marks(trace, name)
    return rows


def _marks(trace: Any, name: str) -> list[dict[str, Any]]:
    x, y = _list(trace.x), _list(trace.y)
    if not x or not y:
        return []
    custom = _list(trace.customdata)
    colour = _list(getattr(trace.marker, "color", None) if trace.marker is not None else None)
    ends = {side: _errors(trace, side, len(x)) for side in ("x", "y")}
    rows = []
    for at, (left, up) in enumerate(zip(x, y, strict=False)):
        if left is None or up is None:
            continue
        row: dict[str, Any] = {"series": name, "x": left, "y": up}
        for side, value in (("x", left), ("y", up)):
            if ends[side] is not None:
                row[f"{side}_low"] = value - ends[side][0][at]
                row[f"{side}_high"] = value + ends[side][1][at]
        if colour and isinstance(colour[at % len(colour)], (int, float)):
            row["colour"] = colour[at % len(colour)]
        about = custom[at] if at < len(custom) else None
        if isinstance(about, (list, tuple, np.ndarray)) and len(about) >= 2:
            row["layer"], row["head"] = int(about[0]), int(about[1])
        rows.append(row)
    return rows


def _cells(trace: Any, name: str) -> list[dict[str, Any]]:
    z = _list(trace.z)
    x = _list(trace.x) or list(range(len(z[0]) if z else 0))
    y = _list(trace.y) or list(range(len(z)))
    return [
        {"series": name, "x": x[column], "y": y[row], "value": value}
        for row, line in enumerate(z)
        for column, value in enumerate(_list(line))
        if value is not None and value == value
    ]


def _errors(trace: Any, side: str, n: int) -> Any:
    """How far the bars reach below and above each mark."""
    bars = getattr(trace, f"error_{side}", None)
    above = _list(bars.array) if bars is not None else []
    if bars is None or len(above) != n:
        return None
    below = _list(bars.arrayminus) or above
    return [v or 0.0 for v in below], [v or 0.0 for v in above]


def _list(values: Any) -> list[Any]:
    if values is None or isinstance(values, (str, int, float)):
        return []
    return values.tolist() if isinstance(values, np.ndarray) else list(values)
