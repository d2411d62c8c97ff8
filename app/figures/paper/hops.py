"""Hop profiles of all heads, the chosen one in front."""

from ....models.errors import HeadscopeError
from ..strength import has_profiles, profile_chart, profile_rows, profiles
from ..template import head_words
from .base import PaperFigure, Request, maker


@maker("Hop profiles", uses=("head", "metric"))
def build(request: Request) -> PaperFigure:
    if not has_profiles(request.study.data):
        raise HeadscopeError(
            "The study has no hop profiles: no patch attends to patches, or they were not asked "
            "for (headscope analyze --metrics default)."
        )
    found = profiles(request.study.data, per_neighbour=True)
    made = profile_chart(found, request.chosen_head, marked=request.marked)
    rows = profile_rows(found)
    caption = (
        f"Attention of patches to one patch so many hops (patches, Chebyshev distance) away, "
        f"share, mean over queries and images, of {len(found.heads)} heads; "
        f"{head_words(request.chosen_head).lower()} in front. {request.words}"
    )
    return PaperFigure(made, rows, caption)
