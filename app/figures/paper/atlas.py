"""The head atlas: one number of every head as colour."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from ..atlas import HeadMetric
from ..compare_atlas import limits
from ..palette import NUMBERS, SIGNED
from ..ranking import axis_title
from ..template import drawn, figure, head_name
from .base import PaperFigure, Request, interval_words, intervals, maker, of_scope, unit_words

_ROW, _REST = 30, 84


def cells(
    values: Float[np.ndarray, "layer head"],
    span: tuple[float, float],
    *,
    signed: bool,
    title: str = "",
    axis: str = "",
) -> go.Heatmap:
    """A heatmap of heads; with a title it has a colour bar."""
    return go.Heatmap(
        z=[drawn(row) for row in values],
        zmin=span[0],
        zmax=span[1],
        colorscale=list(SIGNED if signed else NUMBERS),
        xgap=2,
        ygap=2,
        hoverongaps=False,
        showscale=bool(title),
        colorbar={"title": {"text": title}, "outlinewidth": 0} if title else None,
        xaxis=f"x{axis}",
        yaxis=f"y{axis}",
    )


def axes(n_layers: int, n_heads: int) -> tuple[dict[str, object], dict[str, object]]:
    """Of heads and of layers, layer 0 at the top."""
    bare = {"showgrid": False, "zeroline": False, "ticks": ""}
    x = {**bare, "title": {"text": "head"}, "range": [-0.5, n_heads - 0.5], "dtick": _step(n_heads)}
    y = {
        **bare,
        "title": {"text": "layer"},
        "range": [n_layers - 0.5, -0.5],
        "dtick": _step(n_layers),
    }
    return x, y


def _step(n: int) -> int:
    return 1 if n <= 12 else 2 if n <= 24 else 4


def chart(values: Float[np.ndarray, "layer head"], metric: HeadMetric) -> go.Figure:
    """Layers down, heads across; a gap where there is no head."""
    n_layers, n_heads = values.shape
    x, y = axes(n_layers, n_heads)
    span = limits([values], signed=metric.signed)
    title = axis_title(metric.label, metric.unit)
    return figure(
        cells(values, span, signed=metric.signed, title=title),
        dark=False,
        height=min(480, n_layers * _ROW + _REST),
        xaxis=x,
        yaxis=y,
        margin={"l": 8, "r": 8, "t": 10, "b": 8},
    )


@maker("Head atlas", uses=("metric", "scope", "image"))
def build(request: Request) -> PaperFigure:
    from ....analysis.about import parse

    metric = request.chosen_metric
    values, scope = of_scope(metric, request)
    at = intervals(request.ranking()) if scope.startswith("mean") else {}
    rows = []
    for layer, head in np.argwhere(np.isfinite(values)).tolist():
        row = {"layer": layer, "head": head, "name": head_name((layer, head))}
        row["value"] = float(values[layer, head])
        if at:
            _, row["low"], row["high"], row["n_images"] = at[layer, head]
        rows.append({**row, "quantity": metric.label, "unit": metric.unit, "scope": scope})
    said = parse(metric.description)
    what = (said.formula or said.reading).rstrip(".")
    sure = f" {interval_words(request.ranking())} (in the table)." if at else ""
    caption = (
        f"{unit_words(metric)} of every head, {scope}. {f'{what}.' if what else ''}{sure} "
        f"{request.words if at else request.words_of_image}"
    )
    return PaperFigure(chart(values, metric), rows, caption.replace("..", ".").replace(". (", " ("))
