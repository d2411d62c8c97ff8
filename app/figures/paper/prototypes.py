"""The patterns' prototypes on one scale, with how frequent each is."""

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from ....models.errors import HeadscopeError
from ..palette import ATTENTION
from ..prototypes import FORM_AXES, tops
from ..template import LIGHT, drawn, figure, number
from .base import PaperFigure, Request, maker

if TYPE_CHECKING:
    from ....analysis.patterns import Patterns

_ACROSS = 4
_MOST = 16
_SMALL = 130
"""Pixels of a panel, up to which it has three ticks."""
_LEFT, _BETWEEN, _AROUND = 172, 88, 110
"""Pixels beside all panels, between two rows, and above and below all."""


def patterns_of(request: Request) -> "Patterns":
    """Those that the study has.

    Raises:
        HeadscopeError: it has none.
    """
    from ....analysis.patterns.storage import has_patterns, open_patterns

    if "patterns" not in request.kept:
        if not has_patterns(request.study):
            raise HeadscopeError(
                "The study has no patterns yet; `headscope patterns STUDY.zarr` learns them."
            )
        request.kept["patterns"] = open_patterns(request.study)
    return request.kept["patterns"]


def own_rows(request: Request, patterns: "Patterns") -> np.ndarray:
    """The maps of the study's checkpoint; patterns may be of several."""
    origins = patterns.maps.origins
    own = [i for i, o in enumerate(origins) if o.digest == request.study.model_digest]
    return np.flatnonzero(np.isin(patterns.maps.origin, own))


@maker("Pattern prototypes")
def build(request: Request) -> PaperFigure:
    patterns = patterns_of(request)
    clusters = patterns.clusters[:_MOST]
    axes = FORM_AXES[patterns.maps.form][0]
    maps = [cluster.prototype for cluster in clusters]
    end = tops(maps)[0]
    across = min(_ACROSS, len(clusters))
    down = -(-len(clusters) // across)
    gap_x = 0.05
    width = (1 - gap_x * (across - 1)) / across
    side = min(200.0, (request.page_px - _LEFT) * width)
    inner = down * side + (down - 1) * _BETWEEN
    height, gap_y = side / inner, _BETWEEN / inner
    marks = axes.ticks if side > _SMALL else (axes.ticks[0], axes.ticks[2], axes.ticks[-1])
    traces, layout, notes = [], {}, []
    for place, cluster in enumerate(clusters):
        row, column = divmod(place, across)
        left, top = column * (width + gap_x), 1 - row * (height + gap_y)
        axis = "" if place == 0 else str(place + 1)
        values = cluster.prototype[0].astype(float)
        traces.append(
            go.Heatmap(
                x=[i + 0.5 for i in range(values.shape[1])],
                y=[i + 0.5 for i in range(values.shape[0])],
                z=[drawn(line) for line in np.sqrt(np.clip(values, 0, None))],
                zmin=0,
                zmax=end**0.5,
                colorscale=list(ATTENTION),
                showscale=place == 0,
                colorbar=_bar(end) if place == 0 else None,
                xaxis=f"x{axis}",
                yaxis=f"y{axis}",
            )
        )
        last = row == down - 1 or place + across >= len(clusters)
        ticks = {
            "tickvals": [at for at, _ in marks],
            "ticktext": [words for _, words in marks],
            "showgrid": False,
            "zeroline": False,
            "constrain": "domain",
            "tickangle": 0,
        }
        layout[f"xaxis{axis}"] = ticks | {
            "domain": [left, left + width],
            "anchor": f"y{axis}",
            "range": [0, values.shape[1]],
            "title": {"text": axes.x if last else ""},
            "showticklabels": True,
        }
        layout[f"yaxis{axis}"] = ticks | {
            "domain": [max(0.0, top - height), top],
            "anchor": f"x{axis}",
            "range": [values.shape[0], 0],
            "scaleanchor": f"x{axis}",
            "constraintoward": "top",
            "title": {"text": axes.y if column == 0 else ""},
            "showticklabels": column == 0,
        }
        notes.append(
            {
                "text": f"{cluster.name}<br>{cluster.share:.0%} of maps",
                "x": left + width / 2,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 13, "color": LIGHT.text},
            }
        )
    made = figure(
        *traces,
        dark=False,
        height=round(inner + _AROUND),
        annotations=notes,
        margin={"l": 8, "r": 8, "t": 44, "b": 8},
        **layout,
    )
    n = len(set(patterns.maps.pictures.tolist()))
    caption = (
        f"Prototypes of {len(clusters)} patterns (decoded centres): {axes.title.lower()}, share of "
        "attention; one scale, colour grows with the square root. Learned from "
        f"{len(patterns.maps):,} maps of {n} images, seed {patterns.clustering.seed}. "
        f"{request.words}"
    )
    return PaperFigure(made, _rows(clusters), caption, keep_height=True)


def _bar(end: float) -> dict[str, Any]:
    shares = (0, 0.05, 0.25, 0.5, 1)
    return {
        "title": {"text": "share of attention"},
        "tickvals": [(end * share) ** 0.5 for share in shares],
        "ticktext": [f"{number(100 * end * share)} %" for share in shares],
        "outlinewidth": 0,
    }


def _rows(clusters: Any) -> list[dict[str, Any]]:
    return [
        {
            "pattern": cluster.name,
            "share_of_maps": cluster.share,
            "n_maps": cluster.n_maps,
            "row": row,
            "column": column,
            "share": float(cluster.prototype[0][row, column]),
        }
        for cluster in clusters
        for row, column in np.ndindex(*cluster.prototype[0].shape)
    ]
