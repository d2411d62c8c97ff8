"""One head over images, by decile of a number of the head in them."""

from typing import Any

import numpy as np

from ....models.errors import HeadscopeError
from ..pictures import Over, chart
from ..template import head_words, number
from .base import PaperFigure, Request, maker, unit_words
from .map import patches_of, query_of

_DECILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_PLACES = "5 %", "25 %", "median", "75 %", "95 %"


@maker("A head over images, by decile", needs=("checkpoint",), uses=("head", "other", "query"))
def build(request: Request) -> PaperFigure:
    from ....analysis.maps import attention_maps

    layer, head = request.chosen_head
    metric, data = request.other_metric, request.study.data
    values = metric.values[:, layer, head]
    there = np.flatnonzero(np.isfinite(values))
    if len(metric.values) < 2 or len(there) < len(_DECILES):
        raise HeadscopeError(
            f"{len(there)} images with a number are too few for deciles; analyse at least "
            f"{len(_DECILES)}."
        )
    order = there[np.argsort(values[there], kind="stable")]
    chosen = [int(order[round(share * (len(order) - 1))]) for share in _DECILES]
    panels: list[Over] = []
    rows: list[dict[str, Any]] = []
    query = ""
    checkpoint = request.checkpoint
    assert checkpoint is not None
    for place, index in zip(_PLACES, chosen, strict=True):
        pixels = data["pixels"].values[index]
        of = attention_maps(checkpoint, pixels, [(layer, head)]).layers[layer]
        token, query = query_of(of.layout.queries, request.query)
        weights = of.mean[head] if token is None else of.dense(head)[token]
        patches = patches_of(weights, of.layout.keys)
        panels.append(Over(f"{place}: {number(float(values[index]))}", pixels, patches))
        rows += [
            {
                "image": str(data["image"].values[index]),
                "quantile": place,
                metric.key: float(values[index]),
                "token": label,
                "attention": float(weight),
            }
            for label, weight in zip(of.layout.keys.labels(), weights.tolist(), strict=True)
        ]
    made = chart(
        panels,
        signed=False,
        title="attention (share)",
        across=3 if request.page_px < 600 else len(panels),
        percent=True,
        page_px=request.page_px,
        colours=request.numbers_colours,
    )
    caption = (
        f"{head_words((layer, head))} in images at quantiles of {unit_words(metric)} (above each), "
        f"of {len(there)} images: attention of the query ({query}) to the patches, share, on one "
        f"scale, no smoothing. {request.words}"
    )
    return PaperFigure(made, rows, caption, keep_height=True)
