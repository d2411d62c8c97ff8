"""The cards of the explanation bench: a map each, with its scale, its options and its limits."""

import html
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...figures import explanation as figures
from ...figures.explanation import plain
from ...jobs import Job
from ...linked import EXPLANATION
from ...measuring import explaining
from . import subject as shared
from .bench_work import Bench, doing

if TYPE_CHECKING:
    from ....analysis.explain import Explanation, Method, Option

PER_ROW = 4


def show(bench: Bench, *, by_rank: bool) -> "tuple[Bench, Job[Any] | None]":
    """One card a method; the bench with what was found, and the job that is under way, if any."""
    from .... import HeadscopeError

    running, found = None, {}
    _give_up(bench)
    methods = list(bench.methods.values())
    for start in range(0, len(methods), PER_ROW):
        columns = st.columns(PER_ROW)
        for method, column in zip(methods[start : start + PER_ROW], columns, strict=False):
            with column, st.container(key=f"bench_card_{method.name}"):
                job = _job(bench, method)
                if job.running or job.stopped:
                    running = running or job
                    _waits(method, job)
                    continue
                try:
                    found[method.name] = _card(bench, method, job.result, by_rank=by_rank)
                except HeadscopeError as error:
                    _title(method)
                    st.error(str(error))
                    with st.container(horizontal=True):
                        _options(method)
    return replace(bench, found=found), running


def _give_up(bench: Bench) -> None:
    """Stop what runs for methods that are no longer shown."""
    before = st.session_state.get("bench_before", ())
    for name in before:
        if name not in bench.methods:
            in_depth.stop(f"explain {name}")
    st.session_state["bench_before"] = tuple(bench.methods)


def _job(bench: Bench, method: "Method") -> "Job[Explanation]":
    options = bench.options[method.name]
    job = in_depth.start(
        f"explain {method.name}",
        bench.key(method.name),
        method.long_name,
        lambda job: explaining.explanation(
            job, bench.checkpoint, bench.decision, method.name, options
        ),
    )
    if not method.slow:
        job.wait(0.1)
    return job


def _title(method: "Method") -> None:
    name = html.escape(method.long_name)
    st.html(f'<figure class="hs-map"><h3 class="hs-depth" title="{name}">{name}</h3></figure>')


def _waits(method: "Method", job: Job[Any]) -> None:
    """In the map's place: how far it is, and the button that takes the method away."""
    _title(method)
    shared.unfinished()
    st.progress(job.done_share, text=doing(job, "Being computed"))

    def cancel() -> None:
        in_depth.stop(f"explain {method.name}")
        kept = [name for name in st.session_state["bench_methods"] if name != method.name]
        st.session_state["bench_methods"] = kept

    st.button("Cancel", key=f"bench_stop {method.name}", on_click=cancel)


def _card(bench: Bench, method: "Method", found: Any, *, by_rank: bool) -> "Explanation":
    """A map with its scale, what was read, and the ways on."""
    drawn = figures.overlay(
        bench.decision.crop, found.values[0], signed=method.signed, by_rank=by_rank
    )
    key = f"bench_map {method.name}"

    def take() -> None:
        told = st.session_state[key].get("place")
        if told is not None:
            height, width = bench.decision.crop.shape[:2]
            _go(float(told[0]) * width, float(told[1]) * height)

    EXPLANATION(
        key=key,
        data={
            "name": method.long_name,
            "source": drawn.source,
            "alt": f"{method.long_name}: {found.target}",
            "colours": list(drawn.colours),
            "low": drawn.low,
            "high": drawn.high,
        },
        on_place_change=take,
    )
    st.caption(_words(found))
    warning = st.session_state.get("bench_warnings", {}).get(bench.key(method.name))
    if warning:
        st.warning(warning)
    with st.container(horizontal=True):
        st.button(
            "Query",
            key=f"bench_go {method.name}",
            icon=":material/my_location:",
            type="tertiary",
            help="The hottest cell becomes the query of the head views above. So does any place "
            "of the map that you click.",
            on_click=_to_hottest,
            args=(found,),
        )
        _options(method)
        _about(found)
    return found


def _words(found: "Explanation") -> str:
    """What a reader must know of one map, in two lines."""
    parts = [] if found.method.of_target else ["The same for every class."]
    if found.residual is not None:
        parts.append(f"Not accounted for: {plain(float(found.residual[0]))}{_apart(found)}.")
    if found.where and len(parts) < 2:
        parts.append(f"Read: {found.where}.")
    if found.notes:
        n = len(found.notes)
        parts.append(f"{n} note{'s' * (n > 1)} in About.")
    return _markdown(" ".join(parts)) or "Speaks of the target."


def _apart(found: "Explanation") -> str:
    """What of the residual has a name."""
    named = [f"{name} {plain(float(values[0]))}" for name, values in found.apart.items()]
    return f" (of it {', '.join(named)})" if named else ""


def _markdown(text: str) -> str:
    """Text in which nothing is markup."""
    return "".join(f"\\{char}" if char in "*_`[]$~<>#|" else char for char in text)


def _about(found: "Explanation") -> None:
    """All that is known of a map, behind a button."""
    with st.popover("About", type="tertiary"):
        method = found.method
        st.markdown(f"**{method.long_name}** (`{method.name}`)")
        if found.notes:
            st.info(_markdown(" ".join(found.notes)))
        st.caption(_markdown(method.description))
        rows, columns = found.values.shape[1:]
        facts = {
            "Cells": f"{rows} × {columns}, of {found.cell_px[0]:.3g} × {found.cell_px[1]:.3g} px",
            "Read at": found.where,
            "Explains": found.target if method.of_target else "nothing of the target",
            "Sum of the map": plain(float(found.values[0].sum())),
            "Score": plain(float(found.score[0])),
        }
        if found.residual is not None:
            facts["Not accounted for"] = plain(float(found.residual[0]))
            facts |= {f"of it {name}": plain(float(v[0])) for name, v in found.apart.items()}
        lines = [f"{name}: {_markdown(fact)}" for name, fact in facts.items() if fact]
        st.caption("  \n".join(lines))


def options_of(method: "Method") -> dict[str, Any]:
    """The options of a method that were changed."""
    changed = {}
    for name, option in method.options.items():
        value = st.session_state.get(_key(method, name), option.default)
        if value != option.default:
            changed[name] = value
    return changed


def _options(method: "Method") -> None:
    if not method.options:
        return
    n = len(options_of(method))
    with st.popover(f"Options ({n})" if n else "Options", type="tertiary"):
        for name, option in method.options.items():
            _option(_key(method, name), name, option)


def _option(key: str, name: str, option: "Option") -> None:
    label = name.replace("_", " ").capitalize()
    told: Mapping[str, Any] = {
        "key": key,
        "help": _markdown(option.help[:1].upper() + option.help[1:] + "."),
        "persist_state": "session",
    }
    default = option.default
    if option.choices:
        words = {"True": "yes", "False": "no", "None": "none"}
        st.selectbox(
            label,
            option.choices,
            index=option.choices.index(default),
            format_func=lambda value: words.get(str(value), str(value)),
            **told,
        )
        return
    is_float = isinstance(default, float)
    kind = float if is_float else int
    small = is_float and 0 < default < 1e-3
    st.number_input(
        label,
        value=default,
        min_value=None if option.least is None else kind(option.least),
        max_value=None if option.most is None else kind(option.most),
        step=(default if small else 0.05) if is_float else 1,
        format="%.0e" if small else None,
        placeholder="none",
        **told,
    )


def _key(method: "Method", option: str) -> str:
    return f"bench_option {method.name} {option}"


def _to_hottest(found: "Explanation") -> None:
    row, column = np.unravel_index(int(np.argmax(found.values[0])), found.values[0].shape)
    height, width = found.cell_px
    _go((int(column) + 0.5) * width, (int(row) + 0.5) * height)


def _go(x: float, y: float) -> None:
    """Make a place, px of what the model sees, the query of the head views."""
    shared.change_everywhere(token=None, place=f"{x:.0f},{y:.0f}")
