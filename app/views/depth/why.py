"""Why are the important heads important? All heads by importance and by what they do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from ... import selection
from ...figures import why as figures
from ...figures.atlas import GROUPS, HeadMetric, head_metrics
from ...figures.template import head_name, number
from ...jobs import Job
from . import pattern_kinds
from . import subject as shared
from .subject import Subject

_LAYER, _PATTERN = "layer", "pattern"
_STRONGEST = 5
"""Numbers that go most with importance and are named below the chart."""


def show(subject: Subject) -> "Job[Any] | None":
    """One dot a head: importance against a strength, a third number as colour.

    Gives the job that reads the patterns, where heads are coloured by them.
    """
    from ....analysis.association import association

    study = subject.study
    if study is None or study.n_done == 0:
        st.caption("The heads are still being measured; this view needs their importance.")
        return None
    metrics = head_metrics(study.head_metrics(), study.data.get("share"))
    metrics = tuple(metric for metric in metrics if np.isfinite(metric.mean).any())
    strengths = [metric for metric in metrics if metric.group == GROUPS[-1]]
    importance = [metric for metric in metrics if metric.group != GROUPS[-1]]
    if not importance or not strengths:
        lacking = "importance" if not importance else "attention metrics"
        st.caption(f"This study was made without {lacking}, so there is nothing to set beside it.")
        return None
    first, second, third = st.columns(3)
    with first:
        y = _choice("Importance", importance, "why_y")
    with second:
        x = _choice("Against", strengths, "why_x")
    with third:
        colour, job = _colour(subject, metrics)
    now = selection.current()
    chosen = None if now.layer is None or now.head is None else (now.layer, now.head)
    said = _sentence(association(x.values, y.values), x, y)
    shared.draw_heads(
        figures.chart(
            _axis(x),
            _axis(y),
            colour,
            chosen=chosen,
            marked=now.marked_heads,
            dark=shared.is_dark(),
        ),
        f"{y.label} of all heads against their {x.label.lower()}.",
        "why",
        rows=_rows(metrics),
        caption=f"{y.label} of all heads against {x.label.lower()}. {said} {study.model}.",
    )
    st.caption(said)
    st.caption(
        "Click a dot to choose the head; draw a box or a lasso (in the corner of the chart) to "
        "mark heads in all views."
    )
    _others(strengths, y)
    shared.offer(_rows(metrics), f"heads {subject.name}")
    return job


def _choice(label: str, metrics: Sequence[HeadMetric], key: str) -> HeadMetric:
    by_key = {metric.key: metric for metric in metrics}
    if st.session_state.get(key) not in by_key:
        st.session_state[key] = next(iter(by_key))
    chosen = st.selectbox(
        label,
        list(by_key),
        key=key,
        format_func=lambda name: by_key[name].label,
        help=by_key[st.session_state[key]].description,
    )
    return by_key[chosen]


def _colour(subject: Subject, metrics: Sequence[HeadMetric]) -> "tuple[Any, Job[Any] | None]":
    """What the dots are coloured by; and the job that it waits for, by layer until then."""
    from .... import HeadscopeError

    by_key = {metric.key: metric for metric in metrics}
    first = {_LAYER: "Layer"}
    if pattern_kinds.are_there(subject):
        first[_PATTERN] = "Pattern (each head's most frequent)"
    names = [*first, *by_key]
    if st.session_state.get("why_colour") not in names:
        st.session_state["why_colour"] = _LAYER
    chosen = st.selectbox(
        "Colour",
        names,
        key="why_colour",
        format_func=lambda name: first.get(name) or by_key[name].label,
    )
    if chosen not in first:
        return _axis(by_key[chosen]), None
    shape = metrics[0].mean.shape
    kinds, job = None, None
    if chosen == _PATTERN:
        try:
            kinds, job = pattern_kinds.of_heads(subject, shape)
            if kinds is None:
                st.caption("The patterns are being read; until then by layer.")
        except HeadscopeError as error:
            st.caption(f"By layer: {error}")
    layer = np.arange(shape[0])[:, None].repeat(shape[1], 1)
    return kinds or figures.Axis("Layer", "", layer.astype(float)), job


def _axis(metric: HeadMetric) -> figures.Axis:
    return figures.Axis(metric.label, metric.unit, metric.mean, signed=metric.signed)


def _sentence(found: Any, x: HeadMetric, y: HeadMetric) -> str:
    if found.rho != found.rho:
        return found.reason
    sure = (
        f" (95 % interval over images {number(found.low)} to {number(found.high)})"
        if found.low == found.low
        else ""
    )
    n = found.n_images
    return (
        f"Rank correlation of {y.label.lower()} with {x.label.lower()} over {found.n_heads} heads: "
        f"Spearman's ρ = {number(found.rho)}{sure}, means over {n:,} image{'s' * (n != 1)}. "
        f"{found.reason}"
    )


def _others(strengths: Sequence[HeadMetric], y: HeadMetric) -> None:
    """The strengths that go most with importance, by |ρ| of the means."""
    from ....analysis.association import rank_correlations

    rho = rank_correlations([metric.mean for metric in strengths], y.mean)
    order = [int(i) for i in np.argsort(-np.abs(np.nan_to_num(rho))) if np.isfinite(rho[i])]
    if len(order) < 2:
        return
    named = [f"{strengths[i].label.lower()} ({number(rho[i])})" for i in order[:_STRONGEST]]
    st.caption(
        f"What goes most with {y.label.lower()}, by Spearman's ρ over heads: {', '.join(named)}. "
        f"The strongest of {len(order)} numbers is strong by chance, too; and a correlation is "
        "no cause: removing heads is what tells."
    )


def _rows(metrics: Sequence[HeadMetric]) -> list[dict[str, Any]]:
    there = np.argwhere(np.any([np.isfinite(metric.mean) for metric in metrics], axis=0))
    return [
        {
            "layer": int(layer),
            "head": int(head),
            "name": head_name((layer, head)),
            **{metric.key: float(metric.mean[layer, head]) for metric in metrics},
        }
        for layer, head in there
    ]
