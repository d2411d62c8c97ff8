"""Each head's most frequent pattern, for the other parts of the page."""

from typing import Any

import numpy as np
import streamlit as st

from ...figures import why as figures
from ...jobs import Job
from ...measuring import patterns as work
from .pattern_scene import Scene, digest_of, study_places
from .pattern_source import opening
from .subject import Subject

_SHOWN = "patterns_shown"


def _token(subject: Subject) -> tuple[Any, ...]:
    if subject.photograph is not None:
        return subject.name, subject.photograph.digest
    return (str(subject.study.path),) if subject.study is not None else ()


def remember(scene: Scene) -> None:
    """What the other parts of the page colour heads by, while this is what they are about."""
    of_head = scene.modal()
    if of_head is not None:
        names = scene.found.patterns.names
        st.session_state[_SHOWN] = (_token(scene.subject), names, of_head)


def are_there(subject: Subject) -> bool:
    """Whether patterns of the same checkpoint and images are at hand."""
    if _remembered(subject) is not None:
        return True
    if subject.study is None or subject.photograph is not None:
        return False
    from ....analysis.patterns.storage import has_patterns

    try:
        return has_patterns(subject.study)
    except OSError:
        return False


def of_heads(
    subject: Subject, shape: tuple[int, ...]
) -> "tuple[figures.Kinds | None, Job[Any] | None]":
    """Each head by its most frequent pattern; the job where the study's have to be read first.

    `shape` is the number of layers and of the heads of the layer that has most.
    """
    remembered = _remembered(subject)
    if remembered is None:
        job = opening(subject)
        if job is None or not job.wait(1) or job.stopped:
            return None, job
        learned: Any = job.result
        found = work.grouped(Job("", ""), learned, work.AS_LEARNED, digest_of(subject))
        places = study_places(subject, found)
        remember(Scene(subject, learned, found, places, None, ""))
        remembered = _remembered(subject)
    if remembered is None:
        return None, None
    names, known = remembered
    of_head = np.full(shape, -1)
    part = tuple(slice(min(a, b)) for a, b in zip(shape, known.shape, strict=True))
    of_head[part] = known[part]
    return figures.Kinds("Pattern", names, of_head), None


def _remembered(subject: Subject) -> "tuple[list[str], np.ndarray] | None":
    kept = st.session_state.get(_SHOWN)
    return kept[1:] if kept is not None and kept[0] == _token(subject) else None
