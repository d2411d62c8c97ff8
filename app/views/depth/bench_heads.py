"""Which heads carry a map? Its parts by head, their shares, and the map without some heads."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth, selection
from ...figures import explanation, head_maps
from ...figures.explanation import plain
from ...figures.template import head_words
from ...jobs import Job
from ...measuring import explaining
from . import subject as shared
from .bench_patches import choose_map
from .bench_work import Bench, asked, doing, outcome, waits

if TYPE_CHECKING:
    from ....analysis.explain import Explanation
    from ....analysis.explain.heads import WithoutHeads

Head = tuple[int, int]


def show(bench: Bench) -> "Job[Any] | None":
    """For one of the maps that has parts by head; the job that is under way."""
    names = [name for name, found in bench.found.items() if found.heads is not None]
    names.sort(key=lambda name: not bench.methods[name].of_target)  # heads of the decision first
    if bench.found and not names:
        st.info(
            "None of the maps that are shown has parts by head. Add Relevance, LeGrad or Grad-CAM "
            "(with its option “By head”)."
        )
        return None
    first, second = st.columns(2)
    with first:
        name = choose_map(bench, names, "bench_heads_map")
    if name is None:
        return None
    chosen, marked = _chosen(bench), list(selection.current().marked_heads)
    with second:
        heads = _which(chosen, marked)
    _parts(bench.found[name], chosen, marked, bench.subject.name)
    return _without(bench, name, heads)


def _chosen(bench: Bench) -> Head:
    """The head of the linked plots."""
    now = selection.current()
    if now.layer is not None and now.head is not None:
        return now.layer, now.head
    return shared.chosen_head(bench.subject.study) if bench.subject.study is not None else (0, 0)


def _which(chosen: Head, marked: list[Head]) -> list[Head]:
    """Heads that are taken away below."""
    if not marked:
        st.caption(
            f"Taken away below: {head_words(chosen).lower()}. A click on a head chooses it, a "
            "box or lasso marks several."
        )
        return [chosen]
    n = len(marked)
    of_marked = f"{n} marked head{'s' * (n != 1)}"
    asked_for = st.segmented_control(
        "Taken away",
        ["marked", "chosen"],
        format_func={"marked": f"The {of_marked}", "chosen": head_words(chosen)}.__getitem__,
        default="marked",
        key="bench_without",
        required=True,
        persist_state="session",
    )
    return marked if asked_for == "marked" else [chosen]


def _parts(found: "Explanation", chosen: Head, marked: list[Head], name: str) -> None:
    """Small multiples beside the shares."""
    from ....analysis.explain.heads import head_shares

    assert found.heads is not None
    parts, shares = found.heads[0], head_shares(found)[0]
    method, dark = found.method, shared.is_dark()
    by_rank = st.session_state.get("bench_scale") == "by rank"
    is_signed = method.signed or bool(np.nanmin(parts) < 0)
    left, right = st.columns([3, 2])
    with left:
        chart = head_maps.maps_chart(
            parts, signed=is_signed, by_rank=by_rank, chosen=chosen, marked=marked, dark=dark
        )
        shared.draw_heads(chart, f"Parts of {method.long_name} by layer and head.", "bench_parts")
        st.caption(
            f"The part of each head in {method.long_name}, all on one scale"
            + (", by the rank among all their cells." if by_rank else " up to the largest value.")
            + " A click chooses a head."
        )
    with right:
        chart = head_maps.shares_chart(shares, chosen=chosen, marked=marked, dark=dark)
        shared.draw_heads(chart, "Share of each head in the map.", "bench_shares")
        st.caption(_most(shares))
    shared.offer(_rows(shares, parts), f"heads {method.name} {name}")


def _most(shares: np.ndarray) -> str:
    there = np.argwhere(np.isfinite(shares))
    if not len(there):
        return "The map is 0 everywhere, so no head has a share in it."
    order = sorted(map(tuple, there), key=lambda head: -shares[head])
    layer, head = (int(part) for part in order[0])
    half = int(np.searchsorted(np.cumsum([shares[at] for at in order]), 0.5)) + 1
    return (
        f"Share of a head: its Σ |part| over that of all heads; they sum to 100 %. "
        f"{head_words((layer, head))} has the most, {shares[layer, head]:.0%}; {half} of "
        f"{len(order)} heads have half. A share says what the method attributes to a head, not "
        "what happens without it: see below."
    )


def _rows(shares: np.ndarray, parts: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "layer": int(layer),
            "head": int(head),
            "share": float(shares[layer, head]),
            "sum": float(np.nansum(parts[layer, head])),
        }
        for layer, head in np.argwhere(np.isfinite(shares))
    ]


def _without(bench: Bench, name: str, heads: list[Head]) -> "Job[Any] | None":
    """Before and after; it is asked for, as every click would start it again."""
    words = ", ".join(head_words(head).lower() for head in heads[:3])
    if len(heads) > 3:
        words = f"{len(heads)} heads"
    st.html(f'<h3 class="hs-depth">Without {words}</h3>')
    key = (bench.key(name), tuple(heads))
    method = bench.methods[name]
    sentence = f"{method.long_name} again, with the output of {words} set to 0."
    if not asked("without", key, sentence, at_once=not method.slow):
        return None
    job = in_depth.start(
        "without",
        key,
        method.long_name,
        lambda job: explaining.without(
            job, bench.checkpoint, bench.decision, heads, name, bench.options[name]
        ),
    )
    if not job.wait(0.2):
        waits("without", key, job.done_share, f"{job.title}: {doing(job, 'running')}", "without")
    else:
        outcome("without", job, lambda found: _both(bench, found))
    return job


def _both(bench: Bench, found: "WithoutHeads") -> None:
    """The two maps and their difference, on one scale."""
    before, after = found.before.values[0], found.after.values[0]
    ends = [float(np.abs(np.nan_to_num(values)).max()) for values in (before, after)]
    signed = found.before.method.signed
    scores = float(found.before.score[0]), float(found.after.score[0])
    parts = (
        (f"With all heads: score {plain(scores[0])}", before, signed),
        (f"Without: score {plain(scores[1])}", after, signed),
        ("With − without", found.difference[0], True),
    )
    columns = st.columns(4)
    for (title, values, is_signed), column in zip(parts, columns, strict=False):
        drawn = explanation.overlay(
            bench.decision.crop, values, signed=is_signed, largest=max(ends)
        )
        column.html(explanation.card(title, drawn))
    moved = _likeness(before, after)
    st.caption(
        f"Of the {found.before.target}; all three on one scale. The score falls by "
        f"{plain(float(found.score_lost[0]))}. Rank correlation of the two maps: {plain(moved)}. "
        "Heads are set to 0, which a model never saw: what is lost may be a little too much."
    )


def _likeness(before: np.ndarray, after: np.ndarray) -> float:
    from ....analysis.faithfulness.ranks import rank_correlation

    return float(rank_correlation(before[None], after[None])[0])
