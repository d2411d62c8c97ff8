"""Sinks of all heads, by how much attention they take and how narrowly."""

import numpy as np

from ....models.errors import HeadscopeError
from ..encode import mean_over_images
from ..template import head_name
from ..why import Axis, chart
from .base import PaperFigure, Request, maker

_NUMBERS = ("sink_score", "sink_concentration", "sink_constancy", "sink_agreement")
_WIDE = 20.0


@maker("Sinks")
def build(request: Request) -> PaperFigure:
    data = request.study.data
    if not {"sink_score", "sink_concentration"} <= set(data):
        raise HeadscopeError(
            "The study has no sink scores; analyse it with --metrics default,sink_score."
        )
    found: dict[str, np.ndarray] = {}
    for name in _NUMBERS:
        if name in data:
            values = data[name]
            order = [dim for dim in ("image", "layer", "head") if dim in values.dims]
            array = values.transpose(*order).values.astype(float)
            if "image" in order:
                array = np.where(np.isfinite(array), array, np.nan)
                array = mean_over_images(array)
            found[name] = array
    score, narrow = found["sink_score"], found["sink_concentration"]
    layer = np.arange(len(score))[:, None].repeat(score.shape[1], 1).astype(float)
    units = [str(data[name].attrs.get("units", "")) for name in _NUMBERS[:2]]
    made = chart(
        Axis("Sink score", units[0], score),
        Axis("Sink concentration", units[1], narrow),
        Axis("Layer", "", layer),
        marked=request.marked,
    )
    made.update_layout(height=400, showlegend=bool(request.marked))
    there = narrow[np.isfinite(narrow)]
    if len(there) and there.min() > 0 and there.max() / there.min() > _WIDE:
        made.update_yaxes(type="log", dtick="D2")
    rows = [
        {
            "layer": layer,
            "head": head,
            "name": head_name((layer, head)),
            **{name: float(values[layer, head]) for name, values in found.items()},
        }
        for layer, head in np.argwhere(np.isfinite(score)).tolist()
    ]
    caption = (
        "Sinks: the largest mean attention that one key gets (score) and how many times the "
        "median key's that is (concentration), of every head, means over images; colour: layer. "
        f"{request.words}"
    )
    return PaperFigure(made, rows, caption)
