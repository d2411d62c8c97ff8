"""What is left of the model as heads are removed together, as curves."""

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from .ranking import axis_title
from .template import Colours, colours, figure, head_words, number

if TYPE_CHECKING:
    from ...analysis.importance.curves import RandomBand, RemovalCurve, RemovalCurves


def chart(curves: "RemovalCurves", *, dark: bool = False) -> go.Figure:
    """A line for each order, and the band of random ones behind them."""
    paint = colours(dark=dark)
    styles = [
        {"color": paint.accent, "dash": "solid"},
        {"color": paint.second, "dash": "solid"},
        {"color": paint.third, "dash": "dash"},
        {"color": paint.warning, "dash": "dot"},
    ]
    traces: list[Any] = [] if curves.band is None else _band(curves.band, paint)
    traces += [
        _line(curve, style, curves.value.units)
        for curve, style in zip(curves.curves, styles, strict=False)
    ]
    return figure(
        *traces,
        dark=dark,
        height=400,
        xaxis={
            "title": {"text": f"Heads removed, of {curves.n_heads}"},
            "range": [-0.02 * curves.n_heads, 1.02 * curves.n_heads],
            "zeroline": False,
        },
        yaxis={
            "title": {"text": axis_title(curves.value.long_name, curves.value.units)},
            "zeroline": False,
        },
    )


def _line(curve: "RemovalCurve", style: dict[str, str], units: str) -> go.Scatter:
    words = []
    steps = zip(curve.n_removed, curve.mean, curve.standard_error, strict=True)
    for n, mean, error in steps:
        sure = "" if error != error else f" ± {number(float(error))}"
        lines = [
            f"<b>{curve.name}</b>",
            f"{n} heads removed",
            f"{number(float(mean))}{sure} {units}",
        ]
        if n:
            lines.append(f"last: {head_words(curve.order[n - 1]).lower()}")
        words.append("<br>".join(lines))
    return go.Scatter(
        x=curve.n_removed.tolist(),
        y=curve.mean.tolist(),
        mode="lines+markers",
        name=curve.name,
        line={**style, "width": 2},
        marker={"size": 5},
        text=words,
        hovertemplate="%{text}<extra></extra>",
    )


def _band(band: "RandomBand", paint: Colours) -> list[go.Scatter]:
    x = band.n_removed.tolist()
    lowest, highest = band.band[0].tolist(), band.band[-1].tolist()
    return [
        go.Scatter(
            x=[*x, *reversed(x)],
            y=[*highest, *reversed(lowest)],
            fill="toself",
            fillcolor=paint.band,
            line={"width": 0},
            mode="lines",
            name=f"{len(band.curves)} random orders",
            hoverinfo="skip",
        ),
        go.Scatter(
            x=x,
            y=band.mean.tolist(),
            mode="lines",
            line={"color": paint.faint, "width": 1.5, "dash": "dot"},
            name="mean of the random orders",
            hovertemplate="random orders, mean<br>%{x} heads removed<br>%{y:.3f}<extra></extra>",
        ),
    ]
