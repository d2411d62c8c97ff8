"""The images that stand in where heads are replaced by what they give for others."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import in_depth
from ...jobs import Job
from ...measuring import pictures
from ...measuring import what_if as measuring
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from .... import Checkpoint, HeadStatistics


def statistics_for(
    checkpoint: "Checkpoint", subject: Subject, how: str, key: str = "what_if_reference"
) -> "tuple[HeadStatistics | None, Job[Any] | None]":
    """What heads give over other images, where the ablation needs it, and the job behind it.

    `key` is for the buttons, where the page shows it twice.
    """
    if not measuring.needs_reference(how):
        return None, None
    there = pictures.many(checkpoint)
    if subject.photograph is None and subject.study is not None:
        of_study = pictures.of_study(subject.study)
        there = of_study if of_study.n > 1 else there
    n = measuring.reference_images(checkpoint, there)
    job = in_depth.reference(
        (checkpoint.identity, there.key, n),
        f"What heads give over {n} {there.words}",
        lambda job: measuring.reference(job, checkpoint, there),
    )
    job.wait(0.5)
    if job.running:
        shared.waits(job, in_depth.stop_reference, f"{key} cancel")
        return None, job
    return _result(job, n, there.words, key), job


def _result(job: Job[Any], n: int, words: str, key: str) -> Any:
    from .... import HeadscopeError
    from ...services import jobs_references

    try:
        if job.result is not None:
            st.caption(f"In their place: what they give over {n} {words}.")
            return job.result
        said = "It was stopped before the other images were read."
    except HeadscopeError as error:
        said = str(error)
    st.error(said)
    if st.button("Try again", key=f"{key} again"):
        jobs_references().forget(job.key)
        st.rerun()
    return None
