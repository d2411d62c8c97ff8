"""All heads' maps of one image, on one scale."""

import numpy as np

from ....models.errors import HeadscopeError
from ..head_maps import maps_chart
from .base import PaperFigure, Request, maker
from .map import maps_of, patches_of, row_of

_SIDE = 160
"""Pixels of a map: edges of patches stay sharp when the whole is scaled."""


@maker("Maps of all heads", needs=("checkpoint",), uses=("image", "query"))
def build(request: Request) -> PaperFigure:
    found = maps_of(request)
    grids = {of.layout.keys.grid for of in found.layers}
    rows, columns = max(grid[0] for grid in grids), max(grid[1] for grid in grids)
    if any(rows % a or columns % b for a, b in grids):
        raise HeadscopeError(
            f"The layers of {request.study.model} have grids that do not fit into each other, so "
            "their maps share no montage; print single heads (map)."
        )
    most = max(request.n_heads)
    values = np.full((len(found.layers), most, rows, columns), np.nan)
    table, query = [], ""
    for layer, of in enumerate(found.layers):
        weights, query = row_of(request, layer)
        for head, row in enumerate(weights):
            patches = patches_of(row, of.layout.keys)
            up = rows // patches.shape[0], columns // patches.shape[1]
            # A coarse patch's share is shared by the cells that it covers.
            values[layer, head] = np.kron(patches, np.ones(up)) / (up[0] * up[1])
            table += [
                {"layer": layer, "head": head, "token": label, "attention": float(weight)}
                for label, weight in zip(of.layout.keys.labels(), row.tolist(), strict=True)
            ]
    made = maps_chart(values, signed=False, palette=request.numbers_colours, side=_SIDE)
    bar = made.data[0].marker.colorbar  # pyright: ignore
    bar.update(title={"text": "attention (share)"}, orientation="v", x=None, y=None, xanchor=None)
    bar.update(yanchor=None)
    tile = min((request.page_px - 140) / most, 900 / len(found.layers))
    made.update_layout(height=round(60 + len(found.layers) * tile * rows / columns))
    caption = (
        f"Attention of the query ({query}) to the patches in every head (row: layer, column: "
        "head), share, all on one scale, no smoothing. " + request.words_of_image
    )
    return PaperFigure(made, table, caption, keep_height=True)
