"""In which share of the images each head's map is which pattern."""

from ..patterns import head_rows, shares_chart
from .base import PaperFigure, Request, maker
from .prototypes import own_rows, patterns_of

_MOST = 48


@maker("Patterns of heads")
def build(request: Request) -> PaperFigure:
    from ....analysis.patterns.result import head_patterns

    patterns = patterns_of(request)
    mine = own_rows(request, patterns)
    heads = head_patterns(
        patterns.maps.take(mine), patterns.clustering.labels[mine], patterns.clustering.n
    )
    found = [(int(layer), int(head)) for _, layer, head in heads.heads.tolist()]
    n = len(set(patterns.maps.pictures[mine].tolist()))
    shown = found[:_MOST]
    made = shares_chart(shown, heads.shares[: len(shown)], patterns.names, n_images=n)
    made.update_layout(
        height=90 + 17 * len(shown), showlegend=True, margin={"l": 8, "r": 8, "t": 40, "b": 8}
    )
    fewer = f"The first {len(shown)} of {len(found)} heads; the table has all. " * (
        len(shown) < len(found)
    )
    caption = (
        f"In which share of {n} images the map of a head is which pattern. {fewer}"
        f"{patterns.clustering.n} patterns, seed {patterns.clustering.seed}. {request.words}"
    )
    return PaperFigure(made, head_rows(heads, patterns.names, n), caption, keep_height=True)
