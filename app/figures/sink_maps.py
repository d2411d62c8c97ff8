"""Sinks over the picture, and what single keys get."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, UInt8

from .explanation import overlay
from .palette import payload
from .template import Colours, colours, figure, number

if TYPE_CHECKING:
    from ...analysis.sinks.image import LayerSinks
    from ...models.layout import TokenLayout

MOST_KEYS = 12
"""Bars of keys; the table has all."""


# -- over the picture ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Panel:
    """What the patches of one map get, each key with its words."""

    title: str
    keys: "TokenLayout"
    received: Float[np.ndarray, " key"]
    """NaN for keys out of reach."""
    is_sink: Bool[np.ndarray, " key"]
    """Those that are outlined."""
    more: Sequence[str] = field(default=())
    """What else is said of each key."""

    @property
    def on_grid(self) -> bool:
        """Whether the keys can be drawn over the picture."""
        return bool(self.keys.n_patches) and self.keys.scattered is None

    @property
    def largest(self) -> float:
        """Of the patches."""
        found = self.received[self.keys.is_patch]
        return float(np.nanmax(found)) if np.isfinite(found).any() else 0.0


def panel(sinks: "LayerSinks", head: int, title: str = "") -> Panel:
    """What keys get from all queries in one head."""
    return Panel(
        title,
        sinks.keys,
        sinks.received[head],
        sinks.is_sink[head],
        [
            f"{number(float(lift))} times its fair share" + ("<br><b>a sink</b>" if found else "")
            for lift, found in zip(sinks.lift[head], sinks.is_sink[head], strict=True)
        ],
    )


def maps_chart(
    pixels: UInt8[np.ndarray, "row column 3"],
    panels: Sequence[Panel],
    *,
    dark: bool = False,
) -> go.Figure:
    """Maps over the picture, side by side on one scale (`scale`); sinks have a frame."""
    paint, end = colours(dark=dark), _end(panels)
    made = figure(dark=dark, height=320, showlegend=False, hovermode="closest")
    width = (1 - 0.03 * (len(panels) - 1)) / len(panels)
    for place, each in enumerate(panels):
        _add(made, pixels, each, place, end, (place * (width + 0.03), width), paint)
    titles = any(each.title for each in panels)
    made.update_layout(margin={"l": 0, "r": 0, "t": 28 if titles else 6, "b": 6})
    return made


def scale(panels: Sequence[Panel]) -> tuple[tuple[str, ...], str, str]:
    """The colours that maps share, from none to most, and both ends in words."""
    return tuple(payload()["attention"]), "0", f"{number(100 * _end(panels))} % of the attention"


def _end(panels: Sequence[Panel]) -> float:
    return max(each.largest for each in panels)


def _add(
    made: go.Figure,
    pixels: np.ndarray,
    each: Panel,
    place: int,
    end: float,
    span: tuple[float, float],
    paint: Colours,
) -> None:
    rows, columns = each.keys.grid
    values = each.received[each.keys.is_patch].reshape(rows, columns)
    name = "" if place == 0 else str(place + 1)
    x, y = f"x{name}", f"y{name}"
    cells = np.argwhere(each.is_sink[each.keys.is_patch].reshape(rows, columns))
    source = overlay(pixels, values, signed=False, largest=end).source
    made.add_layout_image(
        source=source,
        xref=x,
        yref=y,
        x=-0.5,
        y=-0.5,
        sizex=columns,
        sizey=rows,
        sizing="stretch",
        layer="below",
    )
    made.add_trace(
        go.Heatmap(
            z=[[float(v) if np.isfinite(v) else None for v in line] for line in values],
            text=_texts(each, rows, columns),
            hovertemplate="%{text}<extra></extra>",
            opacity=0,
            showscale=False,
            xaxis=x,
            yaxis=y,
        )
    )
    for row, column in cells.tolist():
        made.add_shape(
            type="rect",
            xref=x,
            yref=y,
            x0=column - 0.5,
            x1=column + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line={"color": "#6cf2ff", "width": 2},
        )
    start, width = span
    height_px, width_px = each.keys.patch_px
    bare = {"visible": False, "constrain": "domain", "fixedrange": True}
    made.update_layout(
        {
            f"xaxis{name}": {**bare, "domain": [start, start + width], "anchor": y}
            | {"range": [-0.5, columns - 0.5]},
            f"yaxis{name}": {**bare, "anchor": x, "range": [rows - 0.5, -0.5]}
            | {"scaleanchor": x, "scaleratio": height_px / width_px}
            | {"constraintoward": "bottom"},
        }
    )
    if each.title:
        made.add_annotation(
            text=each.title,
            x=start + width / 2,
            xref="paper",
            y=1,
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            showarrow=False,
            font={"size": 13, "color": paint.text},
        )


def _texts(each: Panel, rows: int, columns: int) -> list[list[str]]:
    labels = list(each.keys.labels())
    texts = []
    for token in np.flatnonzero(each.keys.is_patch).tolist():
        value = float(each.received[token])
        lines = [f"<b>{labels[token]}</b>"]
        lines += [f"gets {number(100 * value)} %"] if np.isfinite(value) else ["out of reach"]
        lines += [each.more[token]] if each.more and np.isfinite(value) else []
        texts.append("<br>".join(lines))
    return [texts[row * columns : (row + 1) * columns] for row in range(rows)]


# -- keys ------------------------------------------------------------------------------------------


def shown_keys(sinks: "LayerSinks", head: int) -> list[int]:
    """Prefix tokens and the patches that get most, at most `MOST_KEYS`; prefix tokens first."""
    received = np.nan_to_num(sinks.received[head], nan=-1)
    prefix = np.flatnonzero(~sinks.keys.is_patch).tolist()[: MOST_KEYS - 3]
    patches = np.flatnonzero(sinks.keys.is_patch & (received >= 0))
    order = patches[np.argsort(-received[patches], kind="stable")]
    return prefix + order[: min(5, MOST_KEYS - len(prefix))].tolist()


def keys_chart(sinks: "LayerSinks", head: int, *, dark: bool = False) -> go.Figure:
    """What prefix tokens and the strongest patches get, beside their fair share."""
    paint = colours(dark=dark)
    labels, received, lift = list(sinks.keys.labels()), sinks.received[head], sinks.lift[head]
    keys = shown_keys(sinks, head)
    groups = {"sink": [], "prefix token": [], "patch": []}
    for key in keys:
        kind = "patch" if sinks.keys.is_patch[key] else "prefix token"
        groups["sink" if sinks.is_sink[head, key] else kind].append(key)
    looks = {"sink": paint.warning, "prefix token": paint.accent, "patch": paint.faint}
    traces: list[Any] = [
        go.Bar(
            y=[labels[key] for key in of_kind],
            x=[_plain(received[key]) for key in of_kind],
            orientation="h",
            name=name,
            marker={"color": looks[name]},
            text=[
                f"<b>{labels[key]}</b><br>gets {number(100 * float(received[key]))} %<br>"
                f"{number(float(lift[key]))} times its fair share"
                for key in of_kind
            ],
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
        )
        for name, of_kind in groups.items()
        if of_kind
    ]
    traces.append(
        go.Scatter(
            y=[labels[key] for key in keys],
            x=[_plain(received[key] / lift[key]) for key in keys],
            mode="markers",
            name="fair share",
            marker={"symbol": "line-ns", "size": 14, "line": {"width": 2, "color": paint.text}},
            hovertemplate="fair share of %{y}: %{x:.3~%}<extra></extra>",
        )
    )
    return figure(
        *traces,
        dark=dark,
        height=340,
        barmode="overlay",
        bargap=0.35,
        xaxis={
            "title": {"text": "attention received (share)"},
            "tickformat": "~%",
            "rangemode": "tozero",
        },
        yaxis={
            "categoryorder": "array",
            "categoryarray": [labels[key] for key in reversed(keys)],
            "showgrid": False,
        },
    )


def beside_chart(
    labels: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    *,
    title: str,
    dark: bool = False,
) -> go.Figure:
    """Bars in pairs: with sinks, and without."""
    paint = colours(dark=dark)
    traces = [
        go.Bar(
            y=list(labels),
            x=[_plain(value) for value in values],
            orientation="h",
            name=name,
            marker={"color": colour},
            hovertemplate=f"%{{y}}, {name}: %{{x:.3~%}}<extra></extra>",
        )
        for name, values, colour in (
            ("with sinks", before, paint.faint),
            ("without", after, paint.accent),
        )
    ]
    return figure(
        *traces,
        dark=dark,
        height=120 + 40 * len(labels),
        barmode="group",
        bargap=0.3,
        xaxis={"title": {"text": title}, "tickformat": "~%", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "showgrid": False},
        legend={"traceorder": "normal"},
    )


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
