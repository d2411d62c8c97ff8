"""Two studies of the same images: a number of every head in both, and the difference."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from ....models.errors import HeadscopeError
from ..atlas import HeadMetric
from ..compare_atlas import limits
from ..encode import mean_over_images
from ..ranking import axis_title
from ..template import LIGHT, figure, head_name, number
from .atlas import axes, cells
from .base import PaperFigure, Request, maker, metrics_of, unit_words

_ROW, _ROW_BELOW, _REST = 30, 17, 92
_BELOW, _BESIDE = 52, 0.06
"""Between two atlases: pixels below each other, a share of the width beside each other."""


@maker("Atlas difference of two studies", needs=("against",), uses=("metric",))
def build(request: Request) -> PaperFigure:
    from ....analysis.compare import compare
    from ....analysis.matching.sides import shared_images
    from ....analysis.trends import interval_of

    metric, other = request.chosen_metric, request.against
    if other is None:
        raise HeadscopeError("There is no second study; name one with --against Y.zarr.")
    theirs = metrics_of(other)
    if metric.key not in theirs:
        raise HeadscopeError(
            f"The study of {other.model} has no {metric.key!r}; both have "
            f"{', '.join(key for key in request.metrics if key in theirs) or 'nothing in common'}."
        )
    name, _, ablation = metric.key.partition(":")
    if len(metric.values) < 2 or len(theirs[metric.key].values) < 2:
        raise HeadscopeError(f"{metric.label} is not a number of each image; choose another.")
    found = compare(request.study, other, name, ablation=ablation or None)
    first, second = metric.values, theirs[metric.key].values
    if first.shape[1:] != second.shape[1:] or request.n_heads != _n_heads(other):
        raise HeadscopeError(
            f"{request.study.model} and {other.model} differ in layers or heads, so their atlases "
            "cannot be subtracted; figures over layers can be set side by side."
        )
    images = shared_images((request.study, other))
    a, b = first[images[0]], second[images[1]]
    n, shape = len(a), a.shape[1:]
    sure = interval_of((b - a).reshape(len(a), -1), 0.95, "bca")
    mean, low, high = (v.reshape(shape) for v in (sure.mean, sure.low, sure.high))
    sides = np.stack([mean_over_images(a), mean_over_images(b)])
    made = _chart(
        sides, mean, metric, (request.study.model, other.model), below=request.page_px < 700
    )
    whole = found.whole
    low_end, high_end = float(whole.low[0]), float(whole.high[0])
    between = "" if np.isnan(low_end) else f" ({number(low_end)} to {number(high_end)})"
    intervals = "Intervals, in the table: 95 % bootstrap over images (BCa)."
    if not np.isfinite(low).any():
        intervals = f"No intervals. {sure.reason}"
    elif sure.reason:
        intervals += f" Some heads have none: {sure.reason}"
    rows: list[dict[str, Any]] = [
        {
            "layer": layer,
            "head": head,
            "name": head_name((layer, head)),
            "first": float(sides[0, layer, head]),
            "second": float(sides[1, layer, head]),
            "difference": float(mean[layer, head]),
            "low": float(low[layer, head]),
            "high": float(high[layer, head]),
            "n_images": n,
            "quantity": metric.label,
            "unit": metric.unit,
        }
        for layer, head in np.argwhere(np.isfinite(mean)).tolist()
    ]
    caption = (
        f"{unit_words(metric)} of every head in {request.study.model} and in {other.model} "
        f"(weights SHA-256 {other.model_digest[:12]}) on one scale, and the second minus the "
        f"first, paired over n = {n} image{'s' * (n != 1)}; over all heads "
        f"{number(float(whole.mean[0]))}{between}. {intervals} Heads of two checkpoints have no "
        f"common order. {request.words}"
    )
    return PaperFigure(
        made, rows, caption.replace("<sup>", "^").replace("</sup>", ""), keep_height=True
    )


def _n_heads(study: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in study.data["n_heads"].values)


def _chart(
    sides: np.ndarray, mean: np.ndarray, metric: HeadMetric, names: tuple[str, str], *, below: bool
) -> go.Figure:
    """Three atlases beside each other, or below each other; the first two share a scale."""
    n_layers, n_heads = mean.shape
    shared, spread = limits([sides], signed=metric.signed), limits([mean], signed=True)
    gaps = _BELOW if below else _BESIDE
    height = n_layers * (_ROW_BELOW if below else _ROW)
    whole = 3 * height + 2 * _BELOW if below else 1.0
    room = height / whole if below else (1 - 2 * gaps - 0.1) / 3
    made = figure(
        dark=False,
        height=round(whole + _REST) if below else min(480, height + _REST),
        margin={"l": 8, "r": 20 if below else 80, "t": 30, "b": 8},
    )
    for place, title in enumerate([*names, f"{names[1]} − {names[0]}"]):
        last, axis = place == 2, "" if place == 0 else str(place + 1)
        start = place * (room + (_BELOW / whole if below else gaps)) + (0.1 if last else 0) * (
            not below
        )
        across = (0.0, 1.0) if below else (start, start + room)
        down = (max(0.0, 1 - start - room), 1 - start) if below else (0.0, 1.0)
        words = axis_title("Difference" if last else metric.label, metric.unit)
        trace = cells(
            mean if last else sides[place],
            spread if last else shared,
            signed=last or metric.signed,
            title="" if place == 0 else words,
            axis=axis,
        )
        if place:
            low, high = down[0], 1.0 if below and not last else down[1]  # of two: beside both
            trace.colorbar.update(  # pyright: ignore
                x=across[1], xanchor="left", y=(low + high) / 2, len=high - low, yanchor="middle"
            )
        made.add_trace(trace)
        x, y = axes(n_layers, n_heads)
        if place and not below:
            y["title"] = {"text": ""}
        if below and not last:
            x["title"] = {"text": ""}
        made.update_layout(
            {
                f"xaxis{axis}": x | {"domain": across, "anchor": f"y{axis}"},
                f"yaxis{axis}": y | {"domain": down, "anchor": f"x{axis}"},
            }
        )
        made.add_annotation(
            text=title,
            x=sum(across) / 2,
            y=down[1],
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            yshift=3,
            showarrow=False,
            font={"size": 13, "color": LIGHT.text},
        )
    return made
