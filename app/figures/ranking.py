"""Heads in the order of importance, as dots with intervals."""

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from .template import Colours, colours, drawn, figure, head_name, head_words, number

if TYPE_CHECKING:
    from ...analysis.importance.ranking import Head, Ranking

LONG = 42
"""Letters of an axis title that stand beside a plot."""
MOST = 40
"""Heads that are drawn, the most important ones; the table has all."""
_TOP, _OUT = "among the top", "not among the top"


def chart(ranking: "Ranking", *, chosen: "Head | None" = None, dark: bool = False) -> go.Figure:
    """One dot a head, left the most important; `chosen` has a ring."""
    paint = colours(dark=dark)
    shown = range(min(MOST, len(ranking.heads)))
    groups: dict[str, list[int]] = {}
    for rank in shown:
        groups.setdefault(_group(ranking, rank), []).append(rank)
    traces = [_dots(ranking, ranks, name, paint) for name, ranks in groups.items()]
    if chosen is not None and (place := ranking.rank(chosen)) is not None and place in shown:
        traces.append(
            go.Scatter(
                x=[place],
                y=[float(ranking.mean[place])],
                mode="markers",
                marker={
                    "symbol": "circle-open",
                    "size": 16,
                    "color": paint.text,
                    "line": {"width": 2},
                },
                name="chosen head",
                hoverinfo="skip",
            )
        )
    return figure(
        *traces,
        dark=dark,
        height=380,
        xaxis={
            "tickmode": "array",
            "tickvals": list(shown),
            "ticktext": [head_name(ranking.heads[rank]) for rank in shown],
            "tickangle": -90 if len(shown) > 16 else 0,
            "range": [-0.7, len(shown) - 0.3],
            "showgrid": False,
            "zeroline": False,
            "title": {"text": "Heads, the most important first (L: layer, H: head)"},
        },
        yaxis={
            "title": {"text": axis_title(ranking.label, ranking.units)},
            "zeroline": True,
            "range": _range(ranking, len(shown)),
        },
        showlegend=len(traces) > 1 or any(name for name in groups),
    )


def axis_title(label: str, units: str) -> str:
    """What is measured, and its units on a line of their own; a long label has two."""
    if len(label) > LONG:
        label = label.replace(" · ", "<br>", 1)
    return f"{label}<br>({units})" if units else label


def _group(ranking: "Ranking", rank: int) -> str:
    if ranking.places:
        return ranking.places[rank]
    if ranking.heads[rank] in ranking.flagged:
        return "zero and mean ablation disagree"
    return "heads" if not ranking.flagged else "they agree"


def _dots(ranking: "Ranking", ranks: list[int], name: str, paint: Colours) -> go.Scatter:
    mean, low, high = (
        values[ranks].astype(float) for values in (ranking.mean, ranking.low, ranking.high)
    )
    warned = name == "zero and mean ablation disagree"
    quiet = name == _OUT
    colour = paint.warning if warned else paint.faint if quiet else paint.accent
    open_dot = name == "undecided"
    marker: dict[str, Any] = {
        "symbol": "diamond" if warned else "circle-open" if open_dot else "circle",
        "size": 9 if warned else 8,
        "color": colour,
    }
    if open_dot:
        marker["line"] = {"width": 2}
    return go.Scatter(
        x=ranks,
        y=drawn(mean),
        mode="markers",
        name=name,
        marker=marker,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": drawn(np.nan_to_num(high - mean)),
            "arrayminus": drawn(np.nan_to_num(mean - low)),
            "color": colour,
            "thickness": 1.5,
            "width": 3,
        },
        text=[_words(ranking, rank) for rank in ranks],
        hovertemplate="%{text}<extra></extra>",
    )


def _words(ranking: "Ranking", rank: int) -> str:
    head, n = ranking.heads[rank], ranking.n_images[rank]
    lines = [
        f"<b>{head_words(head)}</b>, rank {rank + 1}",
        f"{number(float(ranking.mean[rank]))} {ranking.units}",
    ]
    if np.isfinite(ranking.low[rank]):
        ends = (number(float(values[rank])) for values in (ranking.low, ranking.high))
        lines.append("from {} to {}".format(*ends))
    lines.append(f"{n:,} image{'s' * (n != 1)}")
    if ranking.places:
        lines.append(ranking.places[rank])
    if head in ranking.flagged:
        lines.append("zero and mean ablation disagree")
    return "<br>".join(lines)


def _range(ranking: "Ranking", n: int) -> list[float] | None:
    """All means and, as far as they are no more than twice as wide, their intervals.

    The first intervals of a race are so wide that the means would lie in one line.
    """
    means = ranking.mean[:n]
    means = means[np.isfinite(means)]
    if not len(means):
        return None
    low, high = min(0.0, float(means.min())), max(0.0, float(means.max()))
    room = (high - low) or 1.0
    ends = np.concatenate([ranking.low[:n], ranking.high[:n]])
    ends = ends[np.isfinite(ends)]
    bottom = max(float(ends.min(initial=low)), low - room)
    top = min(float(ends.max(initial=high)), high + room)
    bottom, top = min(bottom, low), max(top, high)
    margin = 0.06 * (top - bottom)
    return [bottom - margin, top + margin]
