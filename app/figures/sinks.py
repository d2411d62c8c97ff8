"""Sinks of all heads, and what hidden states show of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from . import why
from .template import colours, figure, head_name, number

if TYPE_CHECKING:
    from ...analysis.sinks.report import SinkReport
    from ...models.layout import TokenLayout

Head = tuple[int, int]
KINDS = ("no-op", "broadcast", "mixed")
"""What a sink does, in the order of colours; a head without one is grey."""
_WIDE = 20.0
"""Numbers that differ by more are drawn on a logarithmic scale."""


# -- all heads -------------------------------------------------------------------------------------


def overview_chart(
    report: "SinkReport",
    *,
    chosen: Head | None = None,
    marked: Sequence[Head] = (),
    dark: bool = False,
) -> go.Figure:
    """Heads by score and concentration, each with what its sink does."""
    data = report.data
    kinds = np.full(data["mechanism"].shape, -1)
    for place, name in enumerate(KINDS):
        kinds[data["mechanism"].values == name] = place
    score = data["sink_score"].values.mean(0)
    made = why.chart(
        why.Axis("Sink score", "share, mean over images", score),
        why.Axis("Sink concentration", "ratio, median over images", concentration(report)),
        why.Kinds("Sink", KINDS, kinds),
        chosen=chosen,
        marked=marked,
        dark=dark,
    )
    made.for_each_trace(lambda trace: trace.update(name="no sink"), selector={"name": "none"})
    axes = ((made.update_xaxes, score), (made.update_yaxes, concentration(report)))
    for update, values in axes:
        if _is_wide(values):
            update(type="log", dtick="D2")
    made.update_layout(height=400)
    return made


def concentration(report: "SinkReport") -> Float[np.ndarray, "layer head"]:
    """Median over images; infinite where most keys get nothing in most images."""
    return np.median(report.data["sink_concentration"].values, axis=0)


def head_rows(report: "SinkReport") -> list[dict[str, Any]]:
    """One row a head, over images."""
    data, many = report.data, concentration(report)
    rows = []
    for layer, head in np.argwhere(data["mechanism"].values != "").tolist():
        at = data.isel(layer=layer, head=head)
        token = int(at["modal_token"])
        rows.append(
            {
                "layer": layer,
                "head": head,
                "name": head_name((layer, head)),
                "token": list(report.keys[layer].labels())[token],
                "score": float(at["sink_score"].mean()),
                "concentration": float(many[layer, head]),
                "lift": float(at["sink_lift"].mean()),
                "images_with_a_sink": float(at["sink_share"]),
                "constancy": float(at["sink_constancy"]),
                "agreement": float(at["sink_agreement"]),
                "mechanism": str(at["mechanism"].item()),
                "image_centric": bool(at["image_centric"]),
            }
        )
    return rows


# -- hidden states ---------------------------------------------------------------------------------


def norms_chart(
    report: "SinkReport", rows: "Sequence[TokenLayout | None]", *, dark: bool = False
) -> go.Figure:
    """The longest and the median token after each layer, mean over images."""
    paint = colours(dark=dark)
    longest, middle = (
        report.data[name].values.mean(0) for name in ("token_norm", "token_norm_median")
    )
    words = [_longest(report, rows, layer) for layer in range(len(longest))]
    traces = [
        _line(longest, "longest token", paint.warning, "circle", words),
        _line(middle, "median token", paint.accent, "square"),
    ]
    return _by_layer(traces, "token norm after the layer<br>(‖x‖₂)", [longest, middle], dark=dark)


def _longest(report: "SinkReport", rows: "Sequence[TokenLayout | None]", layer: int) -> str:
    """Which token is the longest, in how many images."""
    layout, found = rows[layer], report.data["token_norm_token"].values[:, layer]
    if layout is None or not np.isfinite(found).all():
        return ""
    tokens, counts = np.unique(found.astype(int), return_counts=True)
    label = list(layout.labels())[int(tokens[counts.argmax()])]
    return f"<br>{label} in {counts.max()} of {len(found)} images"


def activations_chart(report: "SinkReport", *, dark: bool = False) -> go.Figure:
    """The largest activation after each layer, and the limit above which it is massive."""
    paint = colours(dark=dark)
    largest, limit = (
        report.data[name].values.mean(0) for name in ("largest_ratio", "massive_limit")
    )
    traces = [
        _line(largest, "largest activation", paint.warning, "circle"),
        _line(limit, "limit of a massive one", paint.faint, "line-ew").update(line_dash="dash"),
    ]
    title = "largest |x| after the layer<br>(times the median)"
    return _by_layer(traces, title, [largest, limit], dark=dark)


def _by_layer(
    traces: list[go.Scatter], title: str, values: Sequence[np.ndarray], *, dark: bool
) -> go.Figure:
    wide = _is_wide(np.concatenate(values))
    return figure(
        *traces,
        dark=dark,
        height=320,
        xaxis={"title": {"text": "layer"}, "zeroline": False, "dtick": 1}
        | ({"dtick": None, "nticks": 13} if len(values[0]) > 16 else {}),
        yaxis={"title": {"text": title}, "zeroline": False}
        | ({"type": "log", "dtick": "D2"} if wide else {"rangemode": "tozero"}),
        hovermode="closest",
    )


def _line(
    values: np.ndarray, name: str, colour: str, symbol: str, words: Sequence[str] = ()
) -> go.Scatter:
    more = words or [""] * len(values)
    return go.Scatter(
        x=list(range(len(values))),
        y=[_plain(value) for value in values],
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2},
        marker={"size": 7, "symbol": symbol, "color": colour},
        text=[
            f"<b>Layer {layer}</b>, {name}: {number(float(value))}{word}"
            for layer, (value, word) in enumerate(zip(values, more, strict=True))
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def massive_rows(report: "SinkReport") -> list[dict[str, Any]]:
    """One row a massive activation, the largest first."""
    return [
        {
            "layer": one.layer,
            "token": one.token.label,
            "dimension": one.dimension,
            "value": one.value,
            "times_the_median": one.ratio,
            "limit": one.limit,
            "images": one.image_share,
            "images_by_sun_et_al": one.by_sun,
        }
        for one in report.massive
    ]


def _is_wide(values: np.ndarray) -> bool:
    found = values[np.isfinite(values)]
    return len(found) > 0 and bool(found.min() > 0 and found.max() / found.min() > _WIDE)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
