"""How strongly heads attend, and where to: profiles of all heads, one head's offsets, trends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from .encode import PATCH, mean_over_images
from .palette import ATTENTION
from .template import colours, drawn, figure, head_name, head_words, number
from .why import KINDS, SYMBOLS

if TYPE_CHECKING:
    from ...analysis.trends import Trend

Head = tuple[int, int]
MOST_GROUPS = len(KINDS)


@dataclass(frozen=True, eq=False)
class Profiles:
    """Attention of patches by hop, of every head; mean over images."""

    values: Float[np.ndarray, "layer head hop"]
    """NaN where there is no such head or hop."""
    units: str
    per_neighbour: bool

    @property
    def heads(self) -> list[Head]:
        """Heads whose patches attend to patches."""
        there = np.isfinite(self.values).any(-1)
        return [(int(layer), int(head)) for layer, head in np.argwhere(there)]


def profiles(data: xr.Dataset, *, per_neighbour: bool) -> Profiles:
    """From a study; hops that no pair of patches has are left out."""
    order = ("image", "layer", "head", "hop")
    mean = mean_over_images(data["hop_mean"].transpose(*order).values.astype(float))
    values = mean
    if not per_neighbour:
        total = mean_over_images(data["hop_share"].transpose(*order).values.astype(float))
        values = np.where(np.isfinite(mean), total, np.nan)
    return Profiles(values, "share of attention", per_neighbour)


def profile_chart(
    found: Profiles, chosen: Head, *, marked: Sequence[Head] = (), dark: bool = False
) -> go.Figure:
    """A line a head; the chosen one in front, those of its layer behind it, then all others."""
    paint = colours(dark=dark)
    groups = {
        "other heads": [h for h in found.heads if h[0] != chosen[0] and h not in marked],
        f"layer {chosen[0]}": [h for h in found.heads if h[0] == chosen[0] and h != chosen],
        "marked": [h for h in marked if h in found.heads and h != chosen],
        head_words(chosen).lower(): [chosen] if chosen in found.heads else [],
    }
    looks = {
        "other heads": (paint.faint, 1, 3, 0.35),
        f"layer {chosen[0]}": (paint.second, 1.5, 4, 0.8),
        "marked": (paint.third, 1.5, 4, 0.9),
        head_words(chosen).lower(): (paint.accent, 3, 7, 1),
    }
    traces = []
    for name, heads in groups.items():
        if not heads:
            continue
        colour, width, size, opacity = looks[name]
        x, y, custom, text = _lines(found, heads)
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=name,
                opacity=opacity,
                line={"color": colour, "width": width},
                marker={"size": size, "color": colour},
                customdata=custom,
                text=text,
                hovertemplate="%{text}<extra></extra>",
                connectgaps=False,
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
            )
        )
    each = "one patch" if found.per_neighbour else "all patches"
    return figure(
        *traces,
        dark=dark,
        height=380,
        xaxis={"title": {"text": "hop (patches)"}, "zeroline": False, "dtick": 1},
        yaxis={
            "title": {"text": f"attention to {each} so many hops away<br>(share)"},
            "rangemode": "tozero",
            "tickformat": "~%",
        },
        clickmode="event+select",
        hovermode="closest",
    )


def _lines(
    found: Profiles, heads: Sequence[Head]
) -> tuple[list[Any], list[Any], list[Any], list[str]]:
    """Lines with a gap after each."""
    x: list[Any] = []
    y: list[Any] = []
    custom: list[Any] = []
    text: list[str] = []
    for head in heads:
        for hop, value in enumerate(found.values[head]):
            if np.isfinite(value):
                x.append(hop)
                y.append(float(value))
                custom.append(list(head))
                text.append(f"<b>{head_words(head)}</b><br>hop {hop}: {number(100 * value)} %")
        x.append(None)
        y.append(None)
        custom.append(list(head))
        text.append("")
    return x, y, custom, text


@dataclass(frozen=True, eq=False)
class Offsets:
    """Where heads of a layer look from any patch."""

    shares: Float[np.ndarray, "head row column"]
    """NaN where no two patches are so far apart, or the head has no such map."""
    rows: list[int]
    """Rows from the query down to the key, in patches of the coarser grid."""
    columns: list[int]


def offsets_of(
    variable: xr.DataArray, layer: int, heads: Sequence[int], *, image: int | None = None
) -> Offsets | None:
    """The maps of offsets of one image, or their mean over images, as far as any pair of patches
    lies apart; None where patches attend to none.
    """
    order = ("image", "layer", "head", "row_offset", "column_offset")
    part = variable.transpose(*order).isel(layer=layer, head=list(heads))
    part = part if image is None else part.isel(image=[image])
    mean = mean_over_images(part.values.astype(float))
    kept = np.isfinite(mean).any(0)
    if not kept.any():
        return None
    rows, columns = kept.any(-1), kept.any(0)
    return Offsets(
        mean[:, rows][:, :, columns],
        variable["row_offset"].values[rows].tolist(),
        variable["column_offset"].values[columns].tolist(),
    )


def offset_chart(
    offsets: xr.DataArray, head: Head, patch_px: tuple[float, float], *, dark: bool = False
) -> go.Figure | None:
    """Where a head looks from any patch: mean over patches and images; None where it looks at none.

    Coloured by the square root of the share: hop 0 would leave all else black.
    """
    found = offsets_of(offsets, head[0], [head[1]])
    if found is None:
        return None
    mean, rows, columns = found.shares[0], found.rows, found.columns
    end = float(np.nanmax(mean)) or 1.0
    paint = colours(dark=dark)
    text = [
        [
            f"{_way(row, 'down', 'up')}, {_way(column, 'right', 'left')}<br>"
            f"{number(100 * float(value))} % of the attention"
            if np.isfinite(value)
            else ""
            for column, value in zip(columns, line, strict=True)
        ]
        for row, line in zip(rows, mean, strict=True)
    ]
    cells = go.Heatmap(
        x=columns,
        y=rows,
        z=[[float(v) ** 0.5 if np.isfinite(v) else None for v in line] for line in mean],
        zmin=0,
        zmax=end**0.5,
        colorscale=list(ATTENTION),
        text=text,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        colorbar={
            "title": {"text": "Share", "font": {"size": 12}},
            "tickvals": [(end * share) ** 0.5 for share in (0, 0.05, 0.25, 0.5, 1)],
            "ticktext": [f"{number(100 * end * s)} %" for s in (0, 0.05, 0.25, 0.5, 1)],
            "outlinewidth": 0,
            "thickness": 12,
            "len": 0.9,
            "tickfont": {"color": paint.faint, "size": 12},
        },
    )
    height, width = patch_px
    return figure(
        cells,
        dark=dark,
        height=380,
        xaxis={
            "title": {"text": f"columns to the right (1 patch = {width:.3g} px)"},
            "showgrid": False,
            "zeroline": False,
            "constrain": "domain",
        },
        yaxis={
            "title": {"text": "rows down"},
            "showgrid": False,
            "zeroline": False,
            "autorange": "reversed",
            "scaleanchor": "x",
            "scaleratio": height / width,
            "constrain": "domain",
        },
        shapes=[
            {
                "type": "rect",
                "x0": -0.5,
                "x1": 0.5,
                "y0": -0.5,
                "y1": 0.5,
                "line": {"color": "#ffffff", "width": 1.5},
            }
        ],
    )


def _way(offset: int, positive: str, negative: str) -> str:
    return f"{abs(offset)} {positive if offset >= 0 else negative}"


def trend_chart(
    trend: "Trend",
    heads: Float[np.ndarray, "layer head"] | None,
    *,
    chosen: Head | None = None,
    dark: bool = False,
) -> go.Figure:
    """The mean over the heads of each layer with its interval, and every head as a dot."""
    paint = colours(dark=dark)
    alone = len(trend.groups) == 1
    traces = [
        _line(trend, place, name, paint.text if alone else KINDS[place], alone)
        for place, name in enumerate(trend.groups[:MOST_GROUPS])
    ]
    if heads is not None:
        there = [(int(layer), int(head)) for layer, head in np.argwhere(np.isfinite(heads))]
        traces.append(
            go.Scatter(
                x=[layer for layer, _ in there],
                y=[float(heads[at]) for at in there],
                mode="markers",
                name="heads",
                marker={
                    "size": [11 if at == chosen else 7 for at in there],
                    "color": [paint.accent if at == chosen else paint.faint for at in there],
                    "opacity": [1 if at == chosen else 0.7 for at in there],
                },
                customdata=[list(at) for at in there],
                text=[
                    f"<b>{head_words(at)}</b><br>{number(float(heads[at]))} {trend.units}"
                    for at in there
                ],
                hovertemplate="%{text}<extra></extra>",
                unselected={"marker": {"opacity": 0.7}},
            )
        )
    return figure(
        *traces,
        dark=dark,
        height=380,
        xaxis={"title": {"text": "layer"}, "zeroline": False, "dtick": 1},
        yaxis={"title": {"text": f"{trend.long_name}<br>({trend.units})"}, "zeroline": False},
        clickmode="event+select",
    )


def _line(trend: "Trend", place: int, name: str, colour: str, alone: bool) -> go.Scatter:  # noqa: FBT001
    mean, low, high = (np.asarray(v[place], float) for v in (trend.mean, trend.low, trend.high))
    n = trend.n_images[place]
    words = []
    for layer in range(len(mean)):
        sure = ""
        if np.isfinite(low[layer]):
            sure = f"<br>{number(float(low[layer]))} to {number(float(high[layer]))}"
        label = "mean of the layer" if alone else name
        words.append(
            f"<b>Layer {layer}</b>, {label}<br>{number(float(mean[layer]))} {trend.units}{sure}"
            f"<br>{int(n[layer]):,} images"
        )
    return go.Scatter(
        x=list(range(len(mean))),
        y=drawn(mean),
        mode="lines+markers",
        name="mean of the layer" if alone else name,
        line={"color": colour, "width": 2},
        marker={"size": 7, "symbol": SYMBOLS[place]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": drawn(np.nan_to_num(high - mean)),
            "arrayminus": drawn(np.nan_to_num(mean - low)),
            "color": colour,
            "thickness": 1.5,
            "width": 3,
        },
        text=words,
        hovertemplate="%{text}<extra></extra>",
    )


def profile_rows(found: Profiles) -> list[dict[str, Any]]:
    """One row a head, one column a hop."""
    return [
        {
            "layer": head[0],
            "head": head[1],
            "name": head_name(head),
            **{f"hop {hop}": float(value) for hop, value in enumerate(found.values[head])},
        }
        for head in found.heads
    ]


def has_profiles(data: xr.Dataset) -> bool:
    """Whether a study has what the profiles are made of."""
    if not {"hop_share", "hop_mean"} <= set(data):
        return False
    # Kinds of queries come with `share`, which may not have been asked for.
    return "query_kind" not in data.coords or PATCH in data["query_kind"].values
