"""Each head's most frequent pattern, for the other parts of the page."""

from typing import Any

import numpy as np
import streamlit as st

from ...figures import why as figures
from ...jobs import Job
from ...measuring import patterns as work
from .pattern_scene import Scene, digest_of, image_of, study_places
from .pattern_source import opening
from .subject import Subject

_SHOWN = "patterns_shown"
_SCENE = "patterns_scene"


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


def show_everywhere(scene: Scene) -> None:
    """Let the rest of the page draw these patterns, in the groups that were chosen here.

    Runs the page again where it draws others.
    """
    learned, found = scene.learned, scene.found
    as_saved = learned.saved and found.patterns is learned.patterns and scene.own is None
    before = st.session_state.get(_SCENE)
    if as_saved:
        st.session_state.pop(_SCENE, None)
        same = before is None or not _is_of(before, scene.subject)
    else:
        st.session_state[_SCENE] = scene
        same = before is not None and (
            before.found,
            image_of(before.subject),
            before.own is None,
        ) == (
            found,
            image_of(scene.subject),
            scene.own is None,
        )
    if not same:
        st.rerun()


def shown(subject: Subject) -> Scene | None:
    """What was last shown of the same checkpoint and study that the study does not have itself."""
    scene = st.session_state.get(_SCENE)
    return scene if scene is not None and _is_of(scene, subject) else None


def _is_of(scene: Scene, subject: Subject) -> bool:
    def on(which: Subject) -> tuple[Any, ...]:
        of_study = which.study is not None and which.photograph is None
        return digest_of(which), str(which.study.path) if of_study and which.study else None

    return on(scene.subject) == on(subject)


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
