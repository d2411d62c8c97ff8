"""What in an image speaks for the predicted class."""

import numpy as np

from ....models.errors import HeadscopeError
from ..pictures import Over, chart
from .base import PaperFigure, Request, maker


@maker("Explanation of a decision", needs=("checkpoint",), uses=("image", "method"))
def build(request: Request) -> PaperFigure:
    from ....analysis.explain import explain

    checkpoint = request.checkpoint
    assert checkpoint is not None
    if not checkpoint.has_classes:
        raise HeadscopeError(f"{checkpoint.name} has no classes, so there is no decision.")
    pixels = request.study.data["pixels"][request.image_index].values
    found = explain(checkpoint, checkpoint.prepare(pixels[None]), request.method, seed=0)
    values, method = found.values[0].astype(float), found.method
    colours = request.signed_colours if method.signed else request.numbers_colours
    made = chart(
        [Over("image", pixels), Over(method.long_name, pixels, values)],
        signed=method.signed,
        title="for or against" if method.signed else "speaks for the class",
        across=2,
        page_px=request.page_px,
        colours=colours,
    )
    target = "" if found.classes is None else checkpoint.labels[int(found.classes[0])]
    rows = [
        {"row": row, "column": column, "value": float(values[row, column])}
        for row, column in np.ndindex(*values.shape)
    ]
    caption = (
        f"{method.long_name} for {found.target}{f' ({target})' if target else ''}: {found.where}; "
        "unscaled values, colours up to the largest, no smoothing. " + request.words_of_image
    )
    return PaperFigure(made, rows, caption, keep_height=True)
