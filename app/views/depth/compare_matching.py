"""Which head of A is which of B; what moved, appeared and died."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ...figures import compare_matching as figures
from ...figures.template import head_name, number
from ...jobs import Job
from . import subject as shared
from .compare_scene import CRITERIA, Scene, criteria, matching_of

if TYPE_CHECKING:
    from ....analysis.matching import HeadMatching

_DRAWN, _LIMIT, _OF = "compare_drawn", "compare_limit", "compare_of"
LINES, MATRIX, TABLE = "Lines", "Matrix", "Table"


def show(scene: Scene) -> "Job[Any] | None":
    """The matching as lines, matrix or table."""
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    with left:
        by = criteria()
    job, found = matching_of(scene, by)
    if found is None:
        return job
    with middle:
        drawn = st.segmented_control(
            "Drawn as",
            [LINES, MATRIX, TABLE],
            default=LINES,
            key=_DRAWN,
            required=True,
            persist_state="session",
        )
    with right:
        found = _limited(found)
    _counts(found)
    if drawn == MATRIX:
        _matrix(scene, found)
    elif drawn == TABLE:
        _table(found)
    else:
        words = (
            f"{len(found.pairs)} lines between matched heads of {found.first} and {found.second}"
        )
        figure = figures.lines(found, chosen=scene.chosen, dark=shared.is_dark())
        shared.draw_heads(figure, words, "compare lines")
    _chosen(scene, found)
    st.caption(found.describe())
    shared.offer(found.rows(), f"matching {scene.subject.name}")
    return job


def _limited(found: "HeadMatching") -> "HeadMatching":
    """The matching with the threshold that is chosen; it begins at that of the null."""
    null = round(found.threshold, 2)
    key = f"{_LIMIT} {found.first} {found.second} {null} {' '.join(found.criteria)}"
    limit = st.slider(
        "Match from score",
        0.0,
        1.0,
        value=null,
        step=0.01,
        key=key,
        help=f"Pairs below are no match. By the null it is {found.threshold:.2f}: the "
        f"{found.quantile:.0%} quantile of the scores that heads reach when they are assigned to "
        "other heads of their own checkpoint.",
    )
    return found if limit == null else replace(found, threshold=limit, quantile=float("nan"))


def _counts(found: "HeadMatching") -> None:
    n_moved = len(found.moved)
    facts = {
        "Matched": (len(found.pairs), f"of {len(found.heads_a)} in A, {len(found.heads_b)} in B"),
        "Moved": (n_moved, "matched at another depth"),
        "Died": (len(found.died), "in A only"),
        "Appeared": (len(found.appeared), "in B only"),
    }
    for column, (name, (value, about)) in zip(st.columns(4), facts.items(), strict=True):
        column.metric(name, value, help=about)


def _matrix(scene: Scene, found: "HeadMatching") -> None:
    names = {"score": "Score"} | {name: CRITERIA[name] for name in found.criteria}
    if st.session_state.get(_OF) not in names:
        st.session_state[_OF] = "score"
    of = st.segmented_control(
        "Similarity", list(names), key=_OF, format_func=names.__getitem__, required=True
    )
    of = of or "score"
    values = found.score if of == "score" else found.criteria[of]
    figure = figures.matrix(found, values, names[of], chosen=scene.chosen, dark=shared.is_dark())
    shared.draw_heads(
        figure, f"{names[of]} of every head of A with every head of B", "compare matrix"
    )
    st.caption(
        "Squares: the optimal assignment where it is a match; crosses: assigned, below the "
        "threshold."
    )


def _table(found: "HeadMatching") -> None:
    shown = []
    for row in found.rows():
        sides = [
            head_name((int(row[f"layer_{side}"]), int(row[f"head_{side}"])))
            if row[f"layer_{side}"] == row[f"layer_{side}"]
            else "–"
            for side in "ab"
        ]
        numbers = {
            name: None if np.isnan(row[name]) else round(float(row[name]), 3)
            for name in ("score", *found.criteria, "shift")
        }
        shown.append({"": row["fate"], "A": sides[0], "B": sides[1], **numbers})
    st.dataframe(shown, hide_index=True, key="compare_table")
    st.caption(
        "Score and criteria 0…1; shift: relative depth in B minus that in A (−1…1). For a head "
        "without a match the score is that with the closest head, whoever that is matched to."
    )


def _chosen(scene: Scene, found: "HeadMatching") -> None:
    """What became of the chosen head."""
    head = scene.chosen
    if head is None or head not in scene.heads(0):
        return
    pair = next((pair for pair in found.pairs if pair.first == head), None)
    if pair is None:
        other, score = found.closest(head)
        st.markdown(
            f"**{head_name(head)}** of A has no match in B. The closest is {head_name(other)}, "
            f"with a score of {number(score)}."
        )
        return
    parts = ", ".join(f"{name} {number(value)}" for name, value in pair.criteria.items())
    moved = f"; it moved by {number(pair.shift)} of the depth" if pair.moved else ""
    st.markdown(
        f"**{head_name(head)}** of A is **{head_name(pair.second)}** of B: score "
        f"{number(pair.score)} ({parts}){moved}."
    )
