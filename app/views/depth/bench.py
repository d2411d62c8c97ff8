"""The explanation bench: several maps for one decision, side by side."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...figures import explanation as figures
from ...figures.template import number
from ...jobs import Job
from ...measuring import explaining
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.explain import Explanation, Method

PER_ROW = 4
FIRST = ("raw-attention", "rollout", "grad-cam", "relevance")
"""Methods that the bench begins with, as far as they fit."""
_NOBODY, _RUNNER_UP = -2, -1
_PREDICTED = -1


def show(subject: Subject) -> "Job[Any] | None":
    """Maps of the chosen methods for the picture and target of the page."""
    from ....analysis.explain import explanations

    checkpoint = subject.checkpoint
    if checkpoint is None or subject.crop is None:
        st.caption("The checkpoint is not there (yet), so no decision of its can be explained.")
        return None
    methods = explanations()
    reasons = {name: method.why_not(checkpoint) for name, method in methods.items()}
    there = [name for name, reason in reasons.items() if not reason]
    first, second, third = st.columns([5, 3, 3])
    with first:
        chosen = _methods(methods, there)
    with second:
        target, against = _classes(subject)
    with third:
        by_rank = (
            st.segmented_control(
                "Colours",
                ["by value", "by rank"],
                default="by value",
                key="bench_scale",
                required=True,
                persist_state="session",
                help="By value, each map is coloured up to its own largest value. By rank, all "
                "maps are on one scale: the share of cells that have less.",
            )
            == "by rank"
        )
    decision = explaining.Decision(subject.crop, target, against)
    running = _maps(subject, decision, [methods[name] for name in chosen], by_rank=by_rank)
    _left_out(methods, reasons)
    return running


def _methods(methods: "dict[str, Method] | Any", there: list[str]) -> list[str]:
    if "bench_methods" not in st.session_state:
        st.session_state["bench_methods"] = [name for name in FIRST if name in there] or there[:4]
    kept = [name for name in st.session_state["bench_methods"] if name in there]
    if kept != st.session_state["bench_methods"]:
        st.session_state["bench_methods"] = kept
    return st.multiselect(
        "Methods",
        there,
        key="bench_methods",
        format_func=lambda name: methods[name].long_name + " (slow)" * methods[name].slow,
        placeholder="Choose methods to set side by side",
    )


def _classes(subject: Subject) -> tuple[int | None, int | str | None]:
    """The target of the page, and the class that it is told from."""
    from ....analysis.explain import RUNNER_UP

    checkpoint = subject.checkpoint
    if checkpoint is None or not checkpoint.has_classes:
        st.caption("The model has no classes: explained is how strong its features are.")
        return None, None
    labels = checkpoint.labels
    others = [index for index in range(len(labels)) if index != subject.target]
    names = {_NOBODY: "nothing: the logit alone", _RUNNER_UP: "the runner-up"}
    against = st.selectbox(
        "Told from",
        [_NOBODY, _RUNNER_UP, *others],
        key="bench_against",
        format_func=lambda index: names.get(index) or labels[index],
        help="Contrastive: why the target class and not that one? The target is the page's, in "
        "the sidebar.",
    )
    if against == _NOBODY:
        return subject.target, None
    return subject.target, RUNNER_UP if against == _RUNNER_UP else against


def _maps(
    subject: Subject, decision: explaining.Decision, methods: "list[Method]", *, by_rank: bool
) -> "Job[Any] | None":
    """One card a method; the job that is under way, if any."""
    from .... import HeadscopeError

    running = None
    for start in range(0, len(methods), PER_ROW):
        columns = st.columns(PER_ROW)
        for method, column in zip(methods[start : start + PER_ROW], columns, strict=False):
            with column:
                job = _job(subject, decision, method)
                if not job.running and not job.stopped:
                    try:
                        found: Any = job.result
                        _card(subject, found, by_rank=by_rank)
                    except HeadscopeError as error:
                        st.html(f'<h3 class="hs-depth">{html.escape(method.long_name)}</h3>')
                        st.error(str(error))
                    continue
                running = running or job
                st.html(f'<h3 class="hs-depth">{html.escape(method.long_name)}</h3>')
                st.progress(job.done_share, text="Being computed…" if job.done_share else "Waits")
    return running


def _job(subject: Subject, decision: explaining.Decision, method: "Method") -> "Job[Explanation]":
    checkpoint: Any = subject.checkpoint
    job = in_depth.start(
        f"explain {method.name}",
        (checkpoint.identity, *decision.key),
        method.long_name,
        lambda job: explaining.explanation(job, checkpoint, decision, method.name),
    )
    if not method.slow:
        job.wait(0.1)
    return job


def _card(subject: Subject, found: "Explanation", *, by_rank: bool) -> None:
    """A map with its scale, what was read, and the way to its hottest cell."""
    assert subject.crop is not None
    method, values = found.method, found.values[0]
    drawn = figures.overlay(subject.crop, values, signed=method.signed, by_rank=by_rank)
    name = html.escape(method.long_name)
    scale = ", ".join(drawn.colours)
    st.html(
        f'<figure class="hs-map"><h3 class="hs-depth">{name}</h3>'
        f'<img src="{drawn.source}" alt="{name} for {html.escape(found.target)}">'
        f'<figcaption><span>{drawn.low}</span><i style="background-image: linear-gradient('
        f'to right, {scale})"></i><span>{drawn.high}</span></figcaption></figure>',
    )
    st.caption(_words(found))
    st.button(
        "Hottest cell as query",
        key=f"bench_go {method.name}",
        icon=":material/my_location:",
        type="tertiary",
        help="The head views above show where this place attends",
        on_click=lambda: _go(found),
    )


def _words(found: "Explanation") -> str:
    """What a reader must know of one map."""
    method = found.method
    parts = [f"Of the {found.target}." if method.of_target else "The same for every class."]
    if found.where:
        parts.append(f"Read at `{found.where}`.")
    if found.residual is not None:
        parts.append(
            f"Score {number(float(found.score[0]))}; not accounted for: "
            f"{number(float(found.residual[0]))}."
        )
    return " ".join([*parts, *found.notes])


def _go(found: "Explanation") -> None:
    row, column = np.unravel_index(int(np.argmax(found.values[0])), found.values[0].shape)
    height, width = found.cell_px
    place = f"{(int(row) + 0.5) * height:.0f},{(int(column) + 0.5) * width:.0f}"
    shared.change_everywhere(token=None, place=place)


def _left_out(methods: Any, reasons: dict[str, str]) -> None:
    """Methods that do not fit this model, each with its reason."""
    lines = [
        f"**{methods[name].long_name}**: {reason}" for name, reason in reasons.items() if reason
    ]
    if lines:
        with st.expander(f"{len(lines)} methods do not fit this model"):
            st.markdown("\n\n".join(lines))
