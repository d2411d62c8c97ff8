"""All heads by two of their numbers, the layer as colour."""

import numpy as np

from .. import why
from ..atlas import HeadMetric
from ..template import head_name, number
from .base import PaperFigure, Request, maker, unit_words


def _axis(metric: HeadMetric) -> why.Axis:
    return why.Axis(metric.label, metric.unit, metric.mean, signed=metric.signed)


@maker("Head scatter: why heads matter", uses=("metric", "other"))
def build(request: Request) -> PaperFigure:
    from ....analysis.association import association

    y, x = request.chosen_metric, request.other_metric
    shape = y.mean.shape
    layer = np.arange(shape[0])[:, None].repeat(shape[1], 1).astype(float)
    made = why.chart(_axis(x), _axis(y), why.Axis("Layer", "", layer), marked=request.marked)
    made.update_layout(height=400, showlegend=bool(request.marked))
    found = association(x.values, y.values)
    sure = ""
    if found.rho == found.rho:
        sure = f"Spearman's ρ = {number(found.rho)}"
        if found.low == found.low:
            sure += f" (95 % interval over images {number(found.low)} to {number(found.high)})"
        sure += f", {found.n_heads} heads. "
    there = np.argwhere(np.isfinite(x.mean) & np.isfinite(y.mean)).tolist()
    rows = [
        {
            "layer": layer,
            "head": head,
            "name": head_name((layer, head)),
            x.key: float(x.mean[layer, head]),
            y.key: float(y.mean[layer, head]),
        }
        for layer, head in there
    ]
    caption = (
        f"{unit_words(y)} of all heads against {unit_words(x)}, means over images; colour: layer. "
        f"{sure}{found.reason} {request.words}"
    )
    return PaperFigure(made, rows, " ".join(caption.split()))
