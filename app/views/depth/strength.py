"""Strength: how far all heads look, one head in detail, and trends over layers."""

import html
from typing import Any

import numpy as np
import streamlit as st

from ... import selection
from ...figures import strength as figures
from ...figures.atlas import GROUPS, HeadMetric, head_metrics
from ...figures.template import head_words, number
from . import subject as shared
from .subject import Subject

_FIRST = "distance"
_GROUPINGS = {
    "none": "All images together",
    "correctness": "Right and wrong predictions",
    "label": "Class in the image",
    "prediction": "Predicted class",
}


def show(subject: Subject) -> None:
    """Profiles of all heads, the chosen head's offsets and numbers, and a trend over layers."""
    study = subject.study
    if study is None or study.n_done == 0:
        st.caption("The heads are still being measured.")
        return
    metrics = head_metrics(study.head_metrics(), study.data.get("share"))
    strengths = [
        metric
        for metric in metrics
        if metric.group == GROUPS[-1] and np.isfinite(metric.mean).any()
    ]
    if not strengths:
        st.caption("This study was made without attention metrics.")
        return
    chosen = shared.chosen_head(study)
    st.caption(_images(study.n_done))
    left, right = st.columns(2, gap="medium")
    with left:
        _profiles(study, chosen, subject.name)
    with right:
        _offsets(study, chosen)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _trend(study, strengths, chosen)
    with right:
        _numbers(strengths, chosen)


def _images(n: int) -> str:
    return f"Mean over {n:,} image{'s' * (n != 1)}. A click on a line or dot chooses the head."


def _mean_of(study: Any) -> str:
    """As a caption on paper ends."""
    n = study.n_done
    return f"{study.model}, mean over n = {n:,} image{'s' * (n != 1)}."


def _profiles(study: Any, chosen: tuple[int, int], name: str) -> None:
    st.html('<h3 class="hs-depth">Hop profiles of all heads</h3>')
    if not figures.has_profiles(study.data):
        st.caption(
            "The study has no hop profiles: no patch attends to patches, or they were not "
            "asked for."
        )
        return
    per_neighbour = (
        st.segmented_control(
            "Attention",
            ["sum per hop", "mean per neighbour"],
            default="mean per neighbour",
            key="strength_profile",
            required=True,
            persist_state="session",
            label_visibility="collapsed",
        )
        == "mean per neighbour"
    )
    found = figures.profiles(study.data, per_neighbour=per_neighbour)
    marked = selection.current().marked_heads
    chart = figures.profile_chart(found, chosen, marked=marked, dark=shared.is_dark())
    words = f"Attention by hop of {len(found.heads)} heads; {head_words(chosen).lower()} in front."
    shared.draw_heads(
        chart,
        words,
        "strength_profiles",
        rows=figures.profile_rows(found),
        caption=f"{words} {_mean_of(study)}",
    )
    shared.offer(figures.profile_rows(found), f"profiles {name}")


def _offsets(study: Any, chosen: tuple[int, int]) -> None:
    st.html(f'<h3 class="hs-depth">{head_words(chosen)}: where it looks from a patch</h3>')
    chart = None
    if "offset_map" in study.data:
        patch_px = study.layer_layouts[chosen[0]].queries.patch_px
        chart = figures.offset_chart(
            study.data["offset_map"], chosen, patch_px, dark=shared.is_dark()
        )
    if chart is None:
        st.caption(
            "There is no map of offsets for this head: its patches attend to no patches on "
            "a grid, or the study was made without it."
        )
        return
    words = f"Attention of {head_words(chosen).lower()} by rows and columns from the query."
    about = (
        "The square is the patch itself. Colours grow with the square root of the share, so that "
        "faint attention is seen beside strong."
    )
    shared.draw(chart, words, "strength_offsets", caption=f"{words} {about} {_mean_of(study)}")
    st.caption(about)


def _trend(study: Any, strengths: list[HeadMetric], chosen: tuple[int, int]) -> None:
    from .... import HeadscopeError
    from ....analysis.trends import trend

    by_key = {metric.key: metric for metric in strengths}
    left, right = st.columns(2)
    if st.session_state.get("strength_metric") not in by_key:
        first = _FIRST if _FIRST in by_key else next(iter(by_key))
        st.session_state["strength_metric"] = first
    with left:
        key = st.selectbox(
            "Over layers",
            list(by_key),
            key="strength_metric",
            format_func=lambda name: by_key[name].label,
            help=by_key[st.session_state["strength_metric"]].description,
        )
    with right:
        there = [
            name
            for name in _GROUPINGS
            if name == "none"
            or (name == "prediction" and "top_class" in study.data)
            or (name != "prediction" and "label" in study.data)
        ]
        if st.session_state.get("strength_by") not in there:
            st.session_state["strength_by"] = "none"
        by = st.selectbox("Images", there, key="strength_by", format_func=_GROUPINGS.__getitem__)
    try:
        found = trend(study, key, None if by == "none" else by)
    except HeadscopeError as error:
        st.info(str(error))
        return
    chart = figures.trend_chart(found, by_key[key].mean, chosen=chosen, dark=shared.is_dark())
    shown = min(len(found.groups), figures.MOST_GROUPS)
    left_out = len(found.groups) - shown
    about = (
        f"Lines: mean over the heads of a layer; bars: {found.confidence:.0%} interval over images "
        f"({found.method}). {found.reason} "
        + (f"The first {shown} of {len(found.groups)} groups are drawn." if left_out else "")
    )
    words = f"{found.long_name} over layers."
    shared.draw_heads(chart, words, "strength_trend", caption=f"{words} {about} {_mean_of(study)}")
    st.caption(about)


def _numbers(strengths: list[HeadMetric], chosen: tuple[int, int]) -> None:
    """All numbers of the head, each with its place among all heads."""
    st.html(f'<h3 class="hs-depth">{head_words(chosen)} in numbers</h3>')
    rows = []
    for metric in strengths:
        value = metric.mean[chosen]
        others = metric.mean[np.isfinite(metric.mean)]
        if not np.isfinite(value):
            continue
        place = 1 + int((others > value).sum())
        rows.append(
            f'<tr title="{html.escape(metric.description, quote=True)}"><td>{metric.label}</td>'
            f"<td>{number(float(value))} {metric.unit}</td><td>{place} of {len(others)}</td></tr>"
        )
    st.html(
        '<div class="hs-numbers-of-head"><table class="hs-compare"><thead><tr><th>Number</th>'
        f"<th>Mean</th><th>Rank</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
