"""Pattern: every map as a dot, the groups that they form, and which of them a head has."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import services
from ...figures.board import pattern as figures
from ...jobs import Job
from ...measuring import patterns as work
from ..depth import pattern_kinds
from ..depth.pattern_scene import Scene, digest_of, image_of
from ..depth.subject import Subject

if TYPE_CHECKING:
    from .... import Study

BRIEF = 0.1
"""Seconds that the page waits for the patterns: what is quick comes with the first drawing."""
THUMBNAILS = 400
"""Images whose thumbnails travel."""
_LEARN = {"label": "Learn patterns", "part": "Patterns"}
_DRAWN, _PICTURES = "board_pattern", "board_pattern_pictures"


def part(subject: Subject) -> dict[str, Any]:
    """What the part "Patterns" shows, where it was opened; else the patterns that the study has."""
    scene = pattern_kinds.shown(subject)
    if scene is not None:
        return {**_of_scene(scene, subject), **_pictures(subject)}
    study = subject.study
    if subject.photograph is not None or study is None:
        return {
            "waiting": "Patterns group the maps of all heads by what they look like. None are "
            "learned for this checkpoint yet.",
            "action": _LEARN,
        }
    which = _which(study)
    if which is None:
        return {
            "waiting": "Patterns group the maps of all heads by what they look like. This study "
            "has none yet.",
            "action": _LEARN,
        }
    return _of_study(study, which, subject)


def _which(study: "Study") -> str | None:
    from ....analysis.patterns.storage import which_patterns

    try:
        return which_patterns(study)
    except OSError:  # the study was moved away; what was read of it is still shown
        return None


def _of_study(study: "Study", which: str, subject: Subject) -> dict[str, Any]:
    """The patterns that a study has, read in the background."""
    from .... import HeadscopeError

    digest, shown = digest_of(subject), image_of(subject)
    key = (str(study.path), which, digest, shown)
    job = services.for_board(
        "pattern", key, "Patterns", lambda job: _read(job, study, digest, shown)
    )
    reading = {"waiting": "The study's patterns are being read…", "running": True}
    if not job.wait(BRIEF):
        return reading
    try:
        found = job.result
    except HeadscopeError as error:
        return {"waiting": str(error), "action": {**_LEARN, "label": "Learn them anew"}}
    if found is None:  # another page of this session gave it up
        return reading
    return {**found, **_pictures(subject)}


def _read(job: Job[Any], study: "Study", digest: str, shown: str) -> dict[str, Any]:
    learned = work.opened(Job("", ""), study, "")
    job.report(0.5)
    found = work.grouped(Job("", ""), learned, work.AS_LEARNED, digest)
    job.report(0.9)
    return _content(found, study, shown, saved=True)


def _content(
    found: work.Grouped, study: "Study | None", shown: str, *, saved: bool, **own: Any
) -> dict[str, Any]:
    if not len(found.rows):
        return {
            "waiting": "None of the maps that these patterns are of is of this checkpoint.",
            "action": {**_LEARN, "label": "Open Patterns"},
        }
    places = _places(study)
    content = figures.payload(found.patterns, found.rows, found.heads, places, shown=shown, **own)
    return {**content, "saved": saved}


def _places(study: "Study | None") -> dict[str, int]:
    if study is None:
        return {}
    return {str(name): index for index, name in enumerate(study.data["image"].values)}


def _of_scene(scene: Scene, subject: Subject) -> dict[str, Any]:
    """Patterns of this session; made once, until the part shows others."""
    shown = image_of(subject)
    own = scene.own if image_of(scene.subject) == shown else None
    kept = st.session_state.get(_DRAWN)
    if kept is not None and kept[0] is scene.found and kept[1:3] == (shown, own is None):
        return kept[3]
    study = subject.study if subject.photograph is None else None
    content = _content(
        scene.found, study, shown, saved=scene.learned.saved, own=own, own_words=scene.own_words
    )
    st.session_state[_DRAWN] = (scene.found, shown, own is None, content)
    return content


def _pictures(subject: Subject) -> dict[str, Any]:
    """Thumbnails of the study's first images, in its own order."""
    study = subject.study
    if study is None or subject.photograph is not None:
        return {"thumbnails": None}
    key = (study.model_digest, *(str(each) for each in study.data["image_digest"].values))
    job = services.for_board("pictures", key, "Thumbnails", lambda job: _thumbnails(job, study))
    if not job.wait(BRIEF):
        return {"thumbnails": None, "running": True}
    return {"thumbnails": None if job.stopped or job.future.exception() else job.result}


def _thumbnails(job: Job[Any], study: "Study") -> np.ndarray:
    pixels = study.data["pixels"]
    small = []
    n = min(THUMBNAILS, study.n_images)
    for start in range(0, n, 16):
        job.report(start / n)
        small.append(figures.thumbnails(pixels[start : min(n, start + 16)].values))
    return np.concatenate(small)


def of_study(study: "Study") -> dict[str, Any]:
    """The part where there is no server: the patterns that the study has."""
    from .... import HeadscopeError

    if _which(study) is None:
        return {"waiting": "This study has no patterns; headscope patterns STUDY.zarr learns them."}
    try:
        found = _read(Job("", ""), study, study.model_digest, "")
    except HeadscopeError as error:
        return {"waiting": str(error)}
    return found if "waiting" in found else {**found, "thumbnails": _thumbnails(Job("", ""), study)}
