"""One head over images, by decile of a number of the head in them."""

from typing import Any

import numpy as np

from ....models.errors import HeadscopeError
from ..pictures import Over, chart
from ..template import head_words, number
from .base import PaperFigure, Request, maker, unit_words
from .map import patches_of, query_of

_ACROSS = 5
_LEAST = 2
"""Images, of which a spread can be seen."""


@maker("A head over images, by decile", needs=("checkpoint",), uses=("head", "other", "query"))
def build(request: Request) -> PaperFigure:
    from ....analysis.maps import head_maps
    from ....analysis.multiples import by_decile

    layer, head = request.chosen_head
    metric, data = request.other_metric, request.study.data
    values = metric.values[:, layer, head]
    places, n_there = by_decile(values), int(np.isfinite(values).sum())
    if len(places) < _LEAST:
        raise HeadscopeError(
            f"{metric.label} has a value of this head in {n_there} image{'s' * (n_there != 1)}, "
            f"which has no deciles; take a number of each image, of at least {_LEAST}."
        )
    panels: list[Over] = []
    rows: list[dict[str, Any]] = []
    query = ""
    checkpoint = request.checkpoint
    assert checkpoint is not None
    crops = [data["pixels"][place.image].values for place in places]
    maps = head_maps(checkpoint, np.stack(crops), layer, head)
    for place, pixels, of in zip(places, crops, maps, strict=True):
        token, query = query_of(of.layout.queries, request.query)
        weights = of.mean[0] if token is None else of.row(token)[0]
        patches = patches_of(weights, of.layout.keys)
        panels.append(Over(f"{place.part}: {number(place.value)}", pixels, patches))
        rows += [
            {
                "image": str(data["image"].values[place.image]),
                "part": place.part,
                "parts": place.n_parts,
                metric.key: place.value,
                "token": label,
                "attention": float(weight),
            }
            for label, weight in zip(of.layout.keys.labels(), weights.tolist(), strict=True)
        ]
    made = chart(
        panels,
        signed=False,
        title="attention (share)",
        across=min(_ACROSS, len(panels)),
        percent=True,
        page_px=request.page_px,
        colours=request.numbers_colours,
    )
    caption = (
        f"{head_words((layer, head))} in an image from the middle of each of {len(places)} equal "
        f"parts of {n_there} images, in the order of {unit_words(metric)} (above each): attention "
        f"of the query ({query}) to the patches, share, on one scale, no smoothing. {request.words}"
    )
    return PaperFigure(made, rows, caption, keep_height=True)
