"""The explanation bench: several maps for one decision, side by side, and what they are worth."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from ...figures.explanation import plain
from ...jobs import Job
from ...measuring import explaining
from . import bench_cards, bench_heads, bench_patches, bench_trust
from .bench_work import Bench
from .subject import Subject

if TYPE_CHECKING:
    from .... import Checkpoint
    from ....analysis.explain import Method

FIRST = ("raw-attention", "rollout", "grad-cam", "relevance")
"""Methods that the bench begins with, as far as they fit."""
_NOBODY, _RUNNER_UP = -2, -1

QUESTIONS = {
    "True to the model?": bench_trust.show,
    "Which heads carry it?": bench_heads.show,
    "How many patches?": bench_patches.show,
}


def show(subject: Subject) -> "Job[Any] | None":
    """Maps of the chosen methods for the picture and target of the page, and three questions."""
    from ....analysis.explain import explanations

    checkpoint = subject.checkpoint
    if checkpoint is None or subject.crop is None:
        st.caption("The checkpoint is not there (yet), so no decision of its can be explained.")
        return None
    methods = explanations()
    reasons = {name: method.why_not(checkpoint) for name, method in methods.items()}
    chosen = _methods(methods, [name for name, reason in reasons.items() if not reason])
    first, second = st.columns([3, 2], vertical_alignment="bottom")
    with first:
        target, against = _classes(subject, checkpoint)
    with second:
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
    options = {name: bench_cards.options_of(methods[name]) for name in chosen}
    bench = Bench(subject, checkpoint, decision, {n: methods[n] for n in chosen}, options, {})
    said = st.empty()
    bench, running = bench_cards.show(bench, by_rank=by_rank)
    said.caption(_target(bench))
    _left_out(methods, reasons)
    if not chosen:
        st.info("Choose one or more methods.")
        return running
    question = st.segmented_control(
        "Question",
        list(QUESTIONS),
        key="bench_question",
        label_visibility="collapsed",
        persist_state="session",
    )
    if question is None:
        st.caption(
            "**True to the model?** Cover patches in the order of each map, and see what the "
            "model says. **Which heads carry it?** A map's parts by head. **How many patches?** "
            "The least that keeps the decision."
        )
        return running
    asked = QUESTIONS[question](bench)
    return running or asked


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


def _classes(subject: Subject, checkpoint: "Checkpoint") -> tuple[int | None, int | str | None]:
    """The target of the page, and the class that it is told from."""
    from ....analysis.explain import RUNNER_UP

    if not checkpoint.has_classes:
        return None, None
    labels = checkpoint.labels
    others = [index for index in range(len(labels)) if index != subject.target]
    names = {_NOBODY: "nothing: the logit alone", _RUNNER_UP: "the runner-up"}
    if st.session_state.get("bench_against", _NOBODY) not in (_NOBODY, _RUNNER_UP, *others):
        st.session_state["bench_against"] = _NOBODY  # the target is now that class
    against = st.selectbox(
        "Told from",
        [_NOBODY, _RUNNER_UP, *others],
        key="bench_against",
        format_func=lambda index: names.get(index) or labels[index],
        help="Contrastive: why the target class and not that one?",
    )
    if against == _NOBODY:
        return subject.target, None
    return subject.target, RUNNER_UP if against == _RUNNER_UP else against


def _target(bench: Bench) -> str:
    """What is explained, and where it is chosen."""
    if not bench.checkpoint.has_classes:
        return "The model has no classes: explained is how strong the picture's own features are."
    fixed = bench.subject.photograph is None
    where = "It is the study's, and fixed." if fixed else "Choose the target in the sidebar."
    found = next((f for f in bench.found.values() if f.method.of_target), None)
    if found is None:
        return f"Explained is the target class. {where}"
    named = found.target
    if found.classes is not None and bench.decision.target is None:
        label = bench.checkpoint.labels[int(found.classes[0])]
        named = named.replace("the predicted class", f"the predicted class, {label!r}", 1)
    return f"Explained: {named}, which is **{plain(float(found.score[0]))}** here. {where}"


def _left_out(methods: Any, reasons: dict[str, str]) -> None:
    """Methods that do not fit this model, each with its reason."""
    lines = [
        f"**{methods[name].long_name}**: {reason}" for name, reason in reasons.items() if reason
    ]
    if lines:
        s = "s do" if len(lines) > 1 else " does"
        with st.expander(f"{len(lines)} method{s} not fit this model"):
            st.markdown("\n\n".join(lines))
