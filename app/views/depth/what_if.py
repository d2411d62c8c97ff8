"""What if heads were switched off: predictions, maps and explanation beside the original's."""

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import in_depth, selection
from ...figures import what_if as drawn
from ...figures.template import head_words
from ...jobs import Job
from ...linked import WHAT_IF
from ...measuring import what_if as measuring
from ...measuring.explaining import Decision
from ...measuring.sinks import fitting
from ...measuring.what_if import Change
from . import subject as shared
from . import what_if_how, what_if_images
from .subject import Subject, change_everywhere
from .what_if_reference import statistics_for
from .without_sinks import page_query

if TYPE_CHECKING:
    from .... import Checkpoint, HeadStatistics

Head = tuple[int, int]

WAIT = 1.0
"""Seconds that a run of the script waits for both results; then the timer looks for them. What is
clicked meanwhile is heard of after that."""
_AT_ONCE = 0.05
_HERE, _EXPLAINED, _OVER = "what if here", "what if explained", "what if over images"
_NONE = "none"
FIRST = "relevance"
"""The explanation that is shown at first, where it fits."""


def show(subject: Subject) -> "Job[Any] | None":
    """The switches, and the picture with and without the heads that are off."""
    checkpoint, now = subject.checkpoint, selection.current()
    if checkpoint is None or subject.crop is None:
        st.caption("The checkpoint is not there (yet), so no head of its can be switched off.")
        return None
    chosen = _chosen(subject)
    _buttons(checkpoint, chosen)
    heads = now.off_heads
    how, (first, second) = what_if_how.choose(checkpoint, {layer for layer, _ in heads})
    with first:
        method = _method(checkpoint)
    with second:
        by_query = _by_query()
    if not heads:
        in_depth.stop_at_once(_HERE, _EXPLAINED)
        st.info(
            "No head is off. Alt-click a head in the atlas or the maps, set “Clicks” above the "
            "atlas to “switch off”, press x on a head, or use the buttons here."
        )
        return None
    change = _change(checkpoint, heads, how)
    if change is None:
        in_depth.stop_at_once(_HERE, _EXPLAINED)
        return None
    statistics, preparing = statistics_for(checkpoint, subject, change.how)
    if preparing is not None and statistics is None:
        return preparing
    return _results(subject, checkpoint, change, statistics, method, chosen, by_query=by_query)


# -- controls --------------------------------------------------------------------------------------


def _chosen(subject: Subject) -> Head:
    now = selection.current()
    if now.layer is not None and now.head is not None:
        return now.layer, now.head
    return shared.chosen_head(subject.study) if subject.study is not None else (0, 0)


def _buttons(checkpoint: "Checkpoint", chosen: Head) -> None:
    now = selection.current()
    off, marked = now.off_heads, now.marked_heads
    others = [(chosen[0], head) for head in range(checkpoint.n_heads[chosen[0]])]
    others.remove(chosen)
    name = head_words(chosen).lower()

    def switch(heads: Any, how: str | None) -> None:
        change_everywhere(off=selection.marking(heads), how=how)

    with st.container(horizontal=True, key="what_if_buttons"):
        is_off = chosen in off
        st.button(
            "Switch on the chosen head" if is_off else "Switch off the chosen head",
            key="what_if_chosen",
            help=f"That is {name}",
            on_click=switch,
            args=([h for h in off if h != chosen] if is_off else [*off, chosen], now.how),
        )
        st.button(
            "Keep only the chosen head in its layer",
            key="what_if_keep",
            help=f"All other heads of layer {chosen[0]} are switched off",
            disabled=not others,
            on_click=switch,
            args=([*[h for h in off if h[0] != chosen[0]], *others], now.how),
        )
        st.button(
            "Switch off the head set",
            key="what_if_set",
            help="The heads that are marked: Shift-click in the atlas marks",
            disabled=not marked,
            on_click=switch,
            args=(marked, now.how),
        )
        st.button(
            "Mask its sinks",
            key="what_if_sinks",
            help=f"In {name}: as if no query could see a sink",
            on_click=switch,
            args=([chosen], "sinks:masked"),
        )
        st.button(
            "Bring all back",
            key="what_if_none",
            type="tertiary",
            icon=":material/close:",
            disabled=not off,
            on_click=switch,
            args=((), now.how),
        )


def _method(checkpoint: "Checkpoint") -> str:
    """The explanation that is shown: one that does not take hundreds of passes."""
    from ....analysis.explain import explanations

    methods = explanations()
    quick = [name for name, of in methods.items() if not of.slow and not of.why_not(checkpoint)]
    there = [_NONE, *quick]
    if st.session_state.get("what_if_method") not in there:
        st.session_state["what_if_method"] = FIRST if FIRST in there else there[-1]
    return st.selectbox(
        "Explained by",
        there,
        key="what_if_method",
        format_func=lambda name: "no explanation" if name == _NONE else methods[name].long_name,
        persist_state="session",
        help="A map over the picture for the target class, with and without the heads",
    )


def _by_query() -> bool:
    names = {"mean": "mean of queries", "query": "page's query"}
    chosen = st.segmented_control(
        "Maps of",
        list(names),
        format_func=names.__getitem__,
        key="what_if_query",
        default="mean",
        required=True,
        persist_state="session",
        help="The query is that of the linked plots above",
    )
    return chosen == "query"


def _change(checkpoint: "Checkpoint", heads: tuple[Head, ...], how: str) -> Change | None:
    """What is changed, in words; None where it cannot be, with the reason in its place."""
    from .... import HeadscopeError
    from ....models.ablations import ablation

    try:
        converse = ablation(how).converse
    except HeadscopeError as error:
        st.error(str(error))
        return None
    kept, left_out = fitting(checkpoint, heads, how)
    if not kept:
        st.error(
            f"The ablation {how!r} says nothing about the heads that are off. {left_out} Choose "
            "what takes their place, or other heads."
        )
        return None
    n, words = len(kept), drawn.heads_words(kept, checkpoint.n_heads)
    say = f"**{n} head{'s' * (n != 1)} {'kept' if converse else 'off'}**: {words}."
    if converse:
        say += " All other heads of these layers are 0."
    elif drawn.is_all(kept, checkpoint.n_heads):
        say += " These are all heads of the model."
    st.caption(" ".join([say, left_out]).strip())
    return Change(kept, how)


# -- results ---------------------------------------------------------------------------------------


def _results(
    subject: Subject,
    checkpoint: "Checkpoint",
    change: Change,
    statistics: "HeadStatistics | None",
    method: str,
    chosen: Head,
    *,
    by_query: bool,
) -> "Job[Any] | None":
    crop = subject.crop
    assert crop is not None
    digest = sha256(crop.tobytes()).hexdigest()
    layouts = [layer.layout.queries for layer in checkpoint.layers]
    queries = tuple(page_query(layout) if by_query else None for layout in layouts)
    about = (checkpoint.identity, digest, subject.target)
    key = (*about, change, statistics and statistics.digests)
    here = in_depth.start_at_once(
        _HERE,
        (*key, queries),
        "Heads switched off",
        lambda job: measuring.here(
            job,
            checkpoint,
            crop,
            change,
            statistics=statistics,
            target=subject.target,
            queries=queries,
        ),
    )
    jobs: list[Job[Any] | None] = [here]
    status = st.empty()
    query = queries[chosen[0]]
    label = (
        "mean of queries" if query is None else f"query {list(layouts[chosen[0]].labels())[query]}"
    )
    size = crop.shape[:2]
    until = time.monotonic() + WAIT
    found = _wait(here, status, until)
    blocks = None
    if found is not None:
        every = "mean of queries" if not by_query else "the page's query"
        blocks = [
            drawn.prediction(found.output, checkpoint.labels),
            drawn.head_map(found, chosen, size, label),
            drawn.changed_most(found, size, every),
        ]
    _draw("what_if", about, crop, blocks)
    if method != _NONE:
        decision = Decision(crop, subject.target, None)
        explained = in_depth.start_at_once(
            _EXPLAINED,
            (*key, method),
            "The explanation",
            lambda job: measuring.explanation(
                job, checkpoint, decision, change, method, statistics=statistics
            ),
        )
        jobs.append(explained)
        both = _wait(explained, status, until)
        _draw("what_if_map", (*about, method), crop, None if both is None else [_explained(both)])
    else:
        in_depth.stop_at_once(_EXPLAINED)
    jobs.append(what_if_images.show(subject, checkpoint, change, statistics))
    running = [job for job in jobs if job is not None and job.running]
    if running and running[0] in (here, *jobs[1:2]):
        with status.container():
            shared.waits(
                running[0], lambda: in_depth.stop_at_once(_HERE, _EXPLAINED), "what_if_cancel"
            )
    return running[0] if running else None


def _wait(job: Job[Any], status: Any, until: float) -> Any:
    """The result if it is there soon; a sentence in its place where it failed."""
    from .... import HeadscopeError

    if not job.wait(_AT_ONCE):
        status.caption("Computing…")
        job.wait(max(0.0, until - time.monotonic()))
    if job.running:
        return None
    status.empty()
    try:
        if job.stopped:
            st.caption("Stopped.")
            if st.button("Compute", key=f"what_if_again {job.title}"):
                in_depth.retry_at_once(job)
                st.rerun()
            return None
        return job.result
    except HeadscopeError as error:
        st.error(str(error))
        if st.button("Try again", key=f"what_if_again {job.title}"):
            in_depth.retry_at_once(job)
            st.rerun()
        return None


def _draw(key: str, about: tuple[Any, ...], crop: Any, blocks: list[Any] | None) -> None:
    """The blocks; until they are there, what was there before of the same picture, dimmed."""
    kept = st.session_state.setdefault("what_if_drawn", {})
    if blocks is not None:
        kept[key] = about, blocks, selection.current().off
    before, content, of = kept.get(key, (None, [], None))
    WHAT_IF(
        key=key,
        data={
            "blocks": content if before == about else [],
            "waiting": blocks is None,
            "off": selection.current().off,
            "of": of,
            "picture": drawn.picture(crop),
            "aspect": f"{crop.shape[1]} / {crop.shape[0]}",
        },
        on_choose_change=lambda: _choose(key),
    )


def _choose(key: str) -> None:
    told = st.session_state[key].get("choose")
    if told:
        change_everywhere(layer=int(told[0]), head=int(told[1]))


def _explained(both: Any) -> dict[str, Any]:
    from ....analysis.faithfulness.ranks import rank_correlation

    before, after = both.before, both.after
    return drawn.explanation(
        before.method.long_name,
        before.values[0],
        after.values[0],
        signed=before.method.signed,
        target=before.target,
        scores=(float(before.score[0]), float(after.score[0])),
        likeness=float(rank_correlation(before.values, after.values)[0]),
    )
