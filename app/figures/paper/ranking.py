"""Heads in the order of a number, with intervals."""

from ..ranking import MOST, chart
from .base import PaperFigure, Request, interval_words, maker, unit_words


@maker("Ranking with intervals", uses=("metric",))
def build(request: Request) -> PaperFigure:
    from ....analysis.importance.tables import ranking_rows

    found = request.ranking()
    n = len(found.heads)
    shown = f"The {MOST} first of {n} heads; the table has all. " if n > MOST else ""
    caption = (
        f"Heads by {unit_words(request.chosen_metric)}, mean over images. {shown}"
        f"{interval_words(found)} {request.words}"
    )
    return PaperFigure(chart(found), ranking_rows(found), caption)
