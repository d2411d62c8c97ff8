"""What the parts of the explanation bench share: the maps that are there, asking, waiting."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import in_depth
from ...jobs import Job
from ...measuring.explaining import Decision
from .subject import Subject, unfinished

if TYPE_CHECKING:
    from .... import Checkpoint
    from ....analysis.explain import Explanation, Method


@dataclass(frozen=True, eq=False)
class Bench:
    """What stands side by side."""

    subject: Subject
    checkpoint: "Checkpoint"
    decision: Decision
    methods: "Mapping[str, Method]"
    """Those that are shown."""
    options: Mapping[str, Mapping[str, Any]]
    """Of each method: what was changed."""
    found: "Mapping[str, Explanation]"
    """The maps that are there."""

    @property
    def here(self) -> tuple[Any, ...]:
        """The decision and the model."""
        return self.checkpoint.identity, *self.decision.key

    def key(self, method: str) -> tuple[Any, ...]:
        """Of all that the map of a method depends on."""
        return *self.here, method, *sorted(self.options.get(method, {}).items())


def asked(part: str, key: Hashable, words: str, *, at_once: bool, label: str = "Compute") -> bool:
    """Whether the work is wanted; else what it is, in words, with the button that asks for it.

    Work that is quick is wanted `at_once`, until somebody cancels it.
    """
    kept, yes = st.session_state.get(_name(part), (None, None))
    if kept != key:
        yes = at_once
    if yes:
        return True
    st.caption(words)
    st.button(
        label,
        key=f"bench_compute {part}",
        type="primary",
        on_click=lambda: _want(part, key, yes=True),
    )
    return False


def waits(part: str, key: Hashable, share: float, text: str, *jobs: str) -> None:
    """How far work is, with the button that stops it; `jobs` are its names."""
    unfinished()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, max(0.0, share)), text=text)

    def stop() -> None:
        _want(part, key, yes=False)
        for job in jobs:
            in_depth.stop(job)

    button.button("Cancel", key=f"bench_cancel {part}", on_click=stop, width="stretch")


def _want(part: str, key: Hashable, *, yes: bool) -> None:
    st.session_state[_name(part)] = (key, yes)


def _name(part: str) -> str:
    return f"bench_asked {part}"


def outcome(part: str, job: Job[Any], show: Callable[[Any], None]) -> None:
    """Show a result; in its place, the sentence of what went wrong."""
    from .... import HeadscopeError

    try:
        if job.result is not None:
            show(job.result)
    except HeadscopeError as error:
        st.error(str(error))
        if st.button("Try again", key=f"bench_again {part}"):
            in_depth.retry(job)
            st.rerun()


def doing(job: Job[Any], otherwise: str) -> str:
    """What a job is at."""
    return job.text or (otherwise if job.done_share else "Waiting for other work")
