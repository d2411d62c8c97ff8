"""Where one head looks from any patch."""

import numpy as np

from ....models.errors import HeadscopeError
from ..encode import mean_over_images
from ..strength import offset_chart
from ..template import head_words
from .base import PaperFigure, Request, maker


@maker("Offset map of a head", uses=("head", "metric"))
def build(request: Request) -> PaperFigure:
    layer, head = request.chosen_head
    made, study = None, request.study
    if "offset_map" in study.data:
        patch_px = study.layer_layouts[layer].queries.patch_px
        made = offset_chart(study.data["offset_map"], (layer, head), patch_px)
    if made is None:
        raise HeadscopeError(
            f"There is no map of offsets for {head_words((layer, head)).lower()}: its patches "
            "attend to no patches on a grid, or the study was made without it."
        )
    offsets = study.data["offset_map"]
    order = ("image", "layer", "head", "row_offset", "column_offset")
    mean = mean_over_images(
        offsets.transpose(*order).isel(layer=layer, head=head).values.astype(float)
    )
    rows = [
        {
            "row_offset": int(offsets["row_offset"].values[i]),
            "column_offset": int(offsets["column_offset"].values[j]),
            "share": float(mean[i, j]),
        }
        for i, j in np.argwhere(np.isfinite(mean)).tolist()
    ]
    caption = (
        f"{head_words((layer, head))}: attention from a patch by rows and columns from it (the "
        "square), share, mean over patches and images; colour grows with the square root. "
        f"{request.words}"
    )
    return PaperFigure(made, rows, caption)
