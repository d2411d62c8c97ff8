"""One head's attention over one image."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ....models.errors import HeadscopeError
from ..pictures import Over, chart
from ..template import head_words
from .base import PaperFigure, Request, maker

if TYPE_CHECKING:
    from ....analysis.maps import AttentionMaps
    from ....models.layout import TokenLayout


def query_of(layout: "TokenLayout", query: str | None) -> tuple[int | None, str]:
    """The query token in a layer, None for the mean over all; and its name.

    Raises:
        HeadscopeError: there is no such token.
    """
    labels = list(layout.labels())
    if query is None:
        query = "class" if "class" in layout.kinds else "mean"
    if query == "mean":
        return None, "mean over all queries"
    if query in labels:
        return labels.index(query), query
    if query in layout.kinds and query != "patch":
        token = layout.kinds.index(query)
        return token, labels[token]
    try:
        row, column = (float(part) for part in query.split(","))
    except ValueError as error:
        kinds = ", ".join(kind for kind in layout.present_kinds if kind != "patch")
        raise HeadscopeError(
            f"There is no query {query!r}; give {kinds + ', ' if kinds else ''}mean, or a place "
            "in pixels as 48,32 (row, column)."
        ) from error
    if not layout.n_patches:
        raise HeadscopeError("This layer has no patch that attends; give class, or mean.")
    token = int(np.flatnonzero(layout.is_patch)[_nearest(layout, row, column)])
    return token, labels[token]


def _nearest(layout: "TokenLayout", row: float, column: float) -> int:
    return int(np.square(layout.centres - (row, column)).sum(1).argmin())


def patches_of(weights: Float[np.ndarray, " key"], keys: "TokenLayout") -> np.ndarray:
    """Attention on patches in their grid.

    Raises:
        HeadscopeError: they lie on none.
    """
    if keys.scattered is not None or not keys.n_patches:
        raise HeadscopeError("The keys of this layer lie on no grid, so there is no map of them.")
    return np.asarray(weights, float)[keys.is_patch].reshape(keys.grid)


def maps_of(request: Request) -> "AttentionMaps":
    """All maps of the image."""
    from ....analysis.maps import attention_maps

    checkpoint, index = request.checkpoint, request.image_index
    assert checkpoint is not None
    key = ("maps", index)
    if key not in request.kept:
        crop = request.study.data["pixels"][index].values
        request.kept[key] = attention_maps(checkpoint, crop)
    return request.kept[key]


def row_of(request: Request, layer: int) -> tuple[Float[np.ndarray, "head key"], str]:
    """What the query of a layer attends to in every head, and the query's name."""
    of = maps_of(request).layers[layer]
    token, name = query_of(of.layout.queries, request.query)
    return (of.mean if token is None else of.row(token)), name


@maker("Map of a head", needs=("checkpoint",), uses=("head", "image", "query"))
def build(request: Request) -> PaperFigure:
    layer, head = request.chosen_head
    weights, query = row_of(request, layer)
    keys = maps_of(request).layers[layer].layout.keys
    values = patches_of(weights[head], keys)
    pixels = request.study.data["pixels"][request.image_index].values
    made = chart(
        [Over("image", pixels), Over(f"query: {query}", pixels, values)],
        signed=False,
        title="attention (share)",
        across=2,
        percent=True,
        page_px=request.page_px,
        colours=request.numbers_colours,
    )
    rows: list[dict[str, Any]] = [
        {"token": label, "attention": float(weight)}
        for label, weight in zip(keys.labels(), weights[head].tolist(), strict=True)
    ]
    rest = 1 - float(np.nansum(values))
    caption = (
        f"{head_words((layer, head))}: attention of the query ({query}) to the patches, share, "
        f"colours from 0 to the largest, no smoothing; {rest:.1%} go to other tokens. "
        f"{request.words_of_image}"
    )
    return PaperFigure(made, rows, caption, keep_height=True)
