"""Maps in the plane of what was learned of them, by pattern."""

import numpy as np

from ..patterns import NONE_NAME, Dots, Sort, chart, sample
from .base import PaperFigure, Request, maker
from .prototypes import own_rows, patterns_of


@maker("Pattern scatter", uses=("head", "metric"))
def build(request: Request) -> PaperFigure:
    patterns = patterns_of(request)
    rows = own_rows(request, patterns)
    maps, labels = patterns.maps, patterns.clustering.labels[rows]
    plane = patterns.projections["pca"]
    heads = np.stack([maps.layer[rows], maps.head[rows]], -1)
    at = sample(len(rows), np.zeros(len(rows), bool))
    names = [*patterns.names, NONE_NAME]
    pictures = [maps.origins[maps.origin[row]].images[maps.image[row]] for row in rows[at]]
    dots = Dots(
        plane.points[rows[at]],
        heads[at],
        np.full(len(at), -1),
        pictures,
        [names[label] for label in labels[at]],
    )
    axes = ("principal component 1", "principal component 2")
    made = chart(dots, Sort("Pattern", patterns.names, labels[at]), axes)
    table = [
        {
            "layer": int(layer),
            "head": int(head),
            "image": image,
            "pattern": pattern,
            "component_1": float(x),
            "component_2": float(y),
        }
        for (layer, head), image, pattern, (x, y) in zip(
            dots.heads.tolist(), dots.images, dots.patterns, dots.points.tolist(), strict=True
        )
    ]
    n = len(set(maps.pictures[rows].tolist()))
    fewer = f" ({len(at):,} of {len(rows):,}, drawn by chance)" if len(at) < len(rows) else ""
    caption = (
        f"A dot for each head's map in each of {n} images{fewer}, in the plane of the first two "
        f"principal components of the latent space ({plane.explained:.0%} of its variance); "
        f"{patterns.clustering.n} patterns, mean silhouette {patterns.clustering.silhouette:.2f}, "
        f"seed {patterns.clustering.seed}. {request.words}"
    )
    return PaperFigure(made, table, caption)
