"""What is being computed, how far it is, and the button that stops it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from .. import services
from ..jobs import Job

EVERY = 0.5
"""Seconds between two looks at the jobs."""


def show(pending: Sequence[Job[Any]], study: "Job[Any] | None", *, cancelled: bool = False) -> None:
    """Jobs that the page waits for; the page runs again as soon as one has ended."""
    waiting = tuple(pending)
    watch = st.fragment(_watch, run_every=EVERY if waiting else None)
    with st.container(key="progress"):
        watch(waiting, study, cancelled)


def _watch(waiting: tuple[Job[Any], ...], study: "Job[Any] | None", cancelled: bool) -> None:  # noqa: FBT001
    if any(not job.running for job in waiting):
        st.rerun()
    if waiting:
        job = waiting[0]
        share = f": {job.done_share:.0%}" if job.done_share else ""
        st.progress(job.done_share, text=f"{job.title}{share}")
        if job is study:
            st.button("Cancel", key="cancel", on_click=services.cancel_study, args=(job.key,))
    elif cancelled:
        st.caption("The measurement was cancelled.")
        if st.button("Measure every head", key="resume", on_click=services.resume_studies):
            st.rerun()
