"""How many patches does the decision need? Patches dropped in the order of one map."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...figures import redundancy as figures
from ...jobs import Job
from ...measuring import explaining
from ...measuring import pictures as sizes
from . import subject as shared
from .bench_work import Bench, asked, doing, outcome, waits

if TYPE_CHECKING:
    from ....analysis.redundancy import Redundancy

REPEATS = 3
"""Passes of which the quickest gives the time; one where a checkpoint is large."""


def show(bench: Bench) -> "Job[Any] | None":
    """For one of the maps that are shown; the job that is under way."""
    name = choose_map(bench, list(bench.found), "bench_patches_map")
    if name is None:
        return None
    quick = sizes.is_quick(bench.checkpoint)
    key = bench.key(name)
    words = "The model runs again and again with fewer patches, " + (
        "for seconds." if quick else "for a minute or more with this checkpoint."
    )
    if not asked("patches", key, words, at_once=quick):
        return None
    job = in_depth.start(
        "patches",
        key,
        "Dropping patches",
        lambda job: explaining.fewer_patches(
            job,
            bench.checkpoint,
            bench.decision,
            bench.found[name],
            repeats=REPEATS if quick else 1,
        ),
    )
    if not job.wait(0.2):
        waits("patches", key, job.done_share, f"{job.title}: {doing(job, 'running')}", "patches")
    else:
        outcome("patches", job, lambda found: _draw(bench, name, found))
    return job


def choose_map(bench: Bench, names: list[str], key: str) -> str | None:
    """One of the methods whose map is there."""
    if not names:
        st.caption("The maps are still being computed.")
        return None
    if st.session_state.get(key) not in names:
        st.session_state[key] = names[0]
    return st.selectbox(
        "Map", names, key=key, format_func=lambda name: bench.methods[name].long_name
    )


def _draw(bench: Bench, name: str, found: "Redundancy") -> None:
    share = found.kept / found.grid.n_cells
    is_probability = found.probability is not None
    values = found.probability if found.probability is not None else found.score
    title = "Probability of the target" if is_probability else "Score"
    left, right = st.columns(2)
    dark = shared.is_dark()
    with left:
        chart = figures.chart(share, values[0], title=title, dark=dark)
        shared.draw(chart, f"{title} against the share of patches kept.", "bench_patches_score")
    with right:
        times = found.seconds[0] * 1000
        chart = figures.chart(share, times, title="Time of a pass (ms)", unit=" ms", dark=dark)
        shared.draw(chart, "Time against the share of patches kept.", "bench_patches_time")
    _sets(bench, found)
    st.caption(_words(bench, name, found))
    shared.offer(_rows(found), f"patches {name} {bench.subject.name}")


def _sets(bench: Bench, found: "Redundancy") -> None:
    """The smallest set of each order over the picture."""
    if found.smallest is None or found.smallest_cells is None:
        st.caption("The model has no classes, so there is no decision to keep.")
        return
    st.html('<h3 class="hs-depth">The smallest set that keeps the decision</h3>')
    edges = (found.grid.row_edges, found.grid.column_edges)
    columns = st.columns(4)
    for order, column in zip(range(len(figures.NAMES)), columns, strict=False):
        n = int(found.smallest[0, order])
        source = figures.kept_picture(bench.decision.crop, found.smallest_cells[0, order], edges)
        of = found.grid.n_cells
        words = html.escape(f"{figures.NAMES[order]}: {n} of {of} patches ({n / of:.0%})")
        column.html(
            f'<figure class="hs-map"><img src="{source}" alt="{words}">'
            f"<figcaption>{words}</figcaption></figure>"
        )


def _words(bench: Bench, name: str, found: "Redundancy") -> str:
    how = (
        "Patches are dropped before the first block: the model does not run them at all."
        if found.how == "dropped"
        else "Patches are covered by the mean colour and not dropped, so time does not fall. "
        + found.why
    )
    one_class = (
        "the likeliest class stays what it is for the whole picture"
        if found.smallest is not None
        else ""
    )
    tried = (
        f" The decision is kept while {one_class}. Sets are the first patches of each order: "
        "another choice of patches may be smaller. By lot is one draw."
        if one_class
        else ""
    )
    longest = bench.methods[name].long_name
    times = (
        f" Times are of one picture on this machine, the quickest of {REPEATS} passes, and shake."
        if sizes.is_quick(bench.checkpoint)
        else " Times are of one pass of one picture on this machine, and shake."
    )
    return f"{how} “By the map” keeps longest what {longest} has most of.{tried}{times}"


def _rows(found: "Redundancy") -> list[dict[str, Any]]:
    rows = []
    for order, place in np.ndindex(len(figures.NAMES), len(found.kept)):
        at = (0, order, place)
        rows.append(
            {
                "order": figures.NAMES[order],
                "patches_kept": int(found.kept[place]),
                "patches": found.grid.n_cells,
                "how": found.how,
                "target": found.target,
                "score": float(found.score[at]),
                "probability": None if found.probability is None else float(found.probability[at]),
                "same_decision": None
                if found.same_decision is None
                else bool(found.same_decision[at]),
                "seconds": float(found.seconds[at]),
            }
        )
    return rows
