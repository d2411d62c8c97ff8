"""How much more two heads matter together than apart, as a matrix."""

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from .palette import SIGNED
from .template import colours, figure, head_name, head_words, number

if TYPE_CHECKING:
    from ...analysis.importance.synergy import Synergy

DARK = ("#cdb8ff", "#7d6bb8", "#222a33", "#b06a1e", "#ffc27a")
"""The hues of `SIGNED` on a dark page: 0 is near its ground, and what is strong shines."""


def chart(synergy: "Synergy", *, dark: bool = False) -> go.Figure:
    """Every pair of heads; the diagonal, where there is no pair, is empty."""
    names = [head_name(head) for head in synergy.heads]
    mean = synergy.mean
    off = mean[np.isfinite(mean)]
    largest = float(np.abs(off).max(initial=0)) or 1.0
    paint = colours(dark=dark)
    cells = go.Heatmap(
        x=names,
        y=names,
        z=[[float(v) if np.isfinite(v) else None for v in row] for row in mean],
        zmin=-largest,
        zmax=largest,
        colorscale=list(DARK if dark else SIGNED),
        xgap=1,
        ygap=1,
        text=_words(synergy),
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        colorbar={
            "title": {"text": f"Synergy<br>({synergy.value.units})", "font": {"size": 12}},
            "outlinewidth": 0,
            "thickness": 12,
            "len": 0.9,
            "tickfont": {"color": paint.faint, "size": 12},
        },
    )
    return figure(
        cells,
        dark=dark,
        height=460,
        xaxis={"showgrid": False, "side": "bottom", "tickangle": -90, "constrain": "domain"},
        yaxis={
            "showgrid": False,
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
        },
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )


def _words(synergy: "Synergy") -> list[list[str]]:
    units, heads = synergy.value.units, synergy.heads
    mean, error = synergy.mean, synergy.standard_error
    alone, together = synergy.alone.mean(0), synergy.together.mean(0)

    def of(i: int, j: int) -> str:
        if i == j:
            return ""
        sure = "" if not np.isfinite(error[i, j]) else f" ± {number(float(error[i, j]))}"
        first, second = head_words(heads[i]), head_words(heads[j]).lower()
        return "<br>".join(
            [
                f"<b>{first}, and {second}</b>",
                f"synergy {number(float(mean[i, j]))}{sure} {units}",
                f"effect together {number(float(together[i, j]))}",
                f"{first} alone {number(float(alone[i]))}",
                f"{head_words(heads[j])} alone {number(float(alone[j]))}",
            ]
        )

    return [[of(i, j) for j in range(len(heads))] for i in range(len(heads))]
