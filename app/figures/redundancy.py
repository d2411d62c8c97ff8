"""How many patches a decision needs: score and time against the share kept, and the set itself."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from .explanation import SIDE, as_url
from .template import colours, figure

NAMES = ("by the map", "by lot", "against the map")
"""Orders, as in `analysis.redundancy.ORDERS`."""
_DASHES = ("solid", "dot", "dash")
_DIM = 0.22
"""How bright a dropped patch is."""


def chart(
    share: Float[np.ndarray, " share"],
    values: Float[np.ndarray, "order share"],
    *,
    title: str,
    unit: str = "",
    dark: bool = False,
) -> go.Figure:
    """A line for each order, from all patches on the left to few."""
    paint = colours(dark=dark)
    hues = (paint.accent, paint.faint, paint.warning)
    traces = [
        go.Scatter(
            x=share.tolist(),
            y=values[order].tolist(),
            mode="lines+markers",
            name=NAMES[order],
            line={"color": hues[order], "dash": _DASHES[order], "width": 3 if order == 0 else 1.5},
            marker={"size": 6},
            hovertemplate=f"<b>{NAMES[order]}</b><br>%{{x:.0%}} kept: %{{y:.3g}}{unit}"
            "<extra></extra>",
        )
        for order in range(len(NAMES))
    ]
    return figure(
        *traces,
        dark=dark,
        height=300,
        xaxis={
            "title": {"text": "Patches kept"},
            "tickformat": ".0%",
            "range": [1.02, -0.02],
            "zeroline": False,
        },
        yaxis={"title": {"text": title}, "zeroline": False, "rangemode": "tozero"},
    )


def kept_picture(
    pixels: UInt8[np.ndarray, "row column 3"],
    kept: Bool[np.ndarray, "cell_row cell_column"],
    edges: tuple[tuple[int, ...], tuple[int, ...]],
) -> str:
    """The picture with the patches that are kept; the others are nearly black."""
    rows, columns = (np.diff(of) for of in edges)
    where = np.repeat(np.repeat(kept, rows, axis=0), columns, axis=1)[..., None]
    drawn = np.where(where, pixels, (pixels.mean(-1, keepdims=True) * _DIM)).astype(np.uint8)
    height, width = pixels.shape[:2]
    times = max(1, round(SIDE / max(height, width)))
    large = Image.fromarray(drawn).resize((width * times, height * times), Image.Resampling.NEAREST)
    return as_url(large)
