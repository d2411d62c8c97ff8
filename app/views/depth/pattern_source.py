"""Where patterns come from: the study has them, or they are learned now."""

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...jobs import Job
from ...measuring import patterns as work
from ...measuring import pictures as sizes
from . import subject as shared
from .subject import Subject

# -- where they come from --------------------------------------------------------------------------


def learned(subject: Subject) -> "Job[work.Learned] | None":
    """The job that opens or learns patterns; None where it has to be asked for, or cannot be."""
    job = opening(subject)
    if job is not None:
        if not job.wait(1):
            shared.unfinished()
            st.progress(job.done_share, text="Reading the study's patterns")
        return job
    checkpoint = subject.checkpoint
    if checkpoint is None:
        st.caption(
            "The study has no patterns yet, and its checkpoint is not there (yet), so none can be "
            "learned: `headscope patterns STUDY.zarr` learns and keeps them where it is."
            if subject.study is not None and subject.photograph is None
            else "There is no checkpoint yet."
        )
        return None
    images = _images(subject)
    pictures = images.pictures
    key = ("learned", checkpoint.identity, pictures.key, pictures.n)
    kept, wanted = st.session_state.get("patterns_asked", (None, None))
    wanted = wanted if kept == key else None

    def want(yes: bool) -> None:  # noqa: FBT001
        st.session_state["patterns_asked"] = (key, yes)
        if not yes:
            in_depth.stop("patterns")

    if wanted is None:
        wanted = sizes.is_quick(checkpoint)
    if not wanted:
        in_depth.stop("patterns")
        _ask(checkpoint, images, want)
        return None
    job = in_depth.start(
        "patterns",
        key,
        "Patterns",
        lambda job: work.learn(job, checkpoint, images, key),
    )
    if not job.wait(0.2):
        shared.waits(job, lambda: want(yes=False))
        st.caption(_what_is_done(checkpoint, images))
    return job


def opening(subject: Subject) -> "Job[work.Learned] | None":
    """The job that reads what the opened study has."""
    study = subject.study
    if study is None or subject.photograph is not None:
        return None
    from ....analysis.patterns.storage import which_patterns

    try:
        which = which_patterns(study)
    except OSError:  # the study was moved away; what was read of it is still shown
        which = None
    if which is None:
        return None
    key = ("saved", str(study.path), which)
    return in_depth.start("patterns", key, "Patterns", lambda job: work.opened(job, study, key))


def _images(subject: Subject) -> work.Images:
    """What to learn from: the study where it has enough images, else what there is beside it."""
    from ....analysis.patterns.training import LEAST_IMAGES

    study, checkpoint = subject.study, subject.checkpoint
    assert checkpoint is not None
    if study is not None and subject.photograph is None and study.n_done >= LEAST_IMAGES:
        names = study.data["image"].values[np.flatnonzero(study.data["done"].values)]
        return work.Images(sizes.of_study(study), [str(name) for name in names])
    return work.Images(sizes.many(checkpoint))


def _what_is_done(checkpoint: Any, images: work.Images) -> str:
    n = work.images_for(checkpoint, images.pictures)
    n_heads = sum(checkpoint.n_heads)
    return (
        f"Reads the maps of {n_heads:,} heads × {n:,} of the {images.pictures.n:,} "
        f"{images.pictures.words}, and trains a small autoencoder of them on the processor."
    )


def _ask(checkpoint: Any, images: work.Images, want: Callable[[bool], None]) -> None:
    from ....analysis.patterns.training import SECONDS

    cost = "Seconds." if sizes.is_quick(checkpoint) else "Minutes for this checkpoint."
    st.caption(
        f"{_what_is_done(checkpoint, images)} {cost} Training stops after {SECONDS:.0f} s at the "
        "latest."
    )
    st.button(
        "Learn patterns",
        key="patterns_learn",
        type="primary",
        on_click=want,
        args=(True,),
    )
