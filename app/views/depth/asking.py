"""Work that a part does at once or is asked for, can be stopped, and may fail."""

from collections.abc import Callable, Hashable
from typing import Any

import streamlit as st

from ... import in_depth
from ...jobs import Job
from . import subject as shared


def asked(
    name: str,
    key: Hashable,
    title: str,
    work: Callable[[Job[Any]], Any],
    offer: str,
    *,
    at_once: bool = True,
) -> "Job[Any] | None":
    """A job with its progress and a way to stop it; else the button that asks for it."""
    kept = f"asked {name}"
    of, wanted = st.session_state.get(kept, (None, None))
    if of != key:
        wanted = at_once

    def want(yes: bool) -> None:  # noqa: FBT001
        st.session_state[kept] = (key, yes)
        if not yes:
            in_depth.stop(name)

    if not wanted:
        in_depth.stop(name)
        st.button(offer, key=f"{kept} go", on_click=want, args=(True,))
        return None
    job = in_depth.start(name, key, title, work)
    if not job.wait(0.2):
        shared.waits(job, lambda: want(yes=False), f"{kept} cancel")
    return job


def result(job: "Job[Any] | None") -> Any:
    """What a job found; a sentence in its place where it failed."""
    from .... import HeadscopeError

    if job is None or job.running or job.stopped:
        return None
    try:
        return job.result
    except HeadscopeError as error:
        st.error(str(error))
        if st.button("Try again", key=f"again {job.title}"):
            in_depth.retry(job)
            st.rerun()
        return None
