"""In depth, below the linked plots: one question a part.

Nothing is computed before a part is opened. What takes long runs in the background.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from ... import selection
from ...jobs import Job
from .. import net
from ..again import again
from ..mirror import mirroring
from . import (
    bench,
    compare,
    exporting,
    head_sets,
    patterns,
    ranking,
    sinks,
    strength,
    together,
    what_if,
    why,
)
from .subject import BEHIND, UNFINISHED, Subject

EVERY = 1.0
"""Seconds between two looks at what runs: a chart is drawn again each time."""
OFTEN = 0.4
"""The same in "What if", which draws nothing again before it is there."""
_ABOUT = "depth_about"


Part = Callable[[Subject], "Job[Any] | None"]

PARTS: dict[str, tuple[Part, str]] = {
    "What if": (what_if.show, "what the model says and sees when heads are switched off"),
    "Ranking": (ranking.show, "which heads are surely the most important"),
    "Together": (together.curves, "what is left when heads are removed one after the other"),
    "Synergy": (together.synergy, "which heads stand in for each other"),
    "Strength": (strength.show, "how far and how widely heads look, over layers"),
    "Sinks": (
        sinks.show,
        "which tokens take attention whatever the query, and what happens without them",
    ),
    "Patterns": (patterns.show, "what the maps look like, learned and clustered"),
    "Why": (why.show, "what the important heads have in common"),
    "Explain": (bench.show, "what in the picture speaks for a class, by several methods"),
    "Compare": (compare.show, "what another checkpoint does on the same images, head by head"),
    "Export": (exporting.show, "figures and tables as files for a paper"),
}
"""What each part is called, what shows it, and the question that it answers."""


def show(subject: Subject) -> None:
    """The panel; while something runs it looks again every now and then."""
    with st.container(key="depth"):
        _panel(subject)


def heed() -> None:
    """Called when all of the page is drawn: the panel will be about what is chosen now."""
    st.session_state[_ABOUT] = _about()


def follow() -> None:
    """Called when the linked plots have told of a choice: the panel is about it, too."""
    about = _about()
    if st.session_state.get(_ABOUT, about) != about:
        st.session_state[_ABOUT] = about
        st.rerun()


def _about() -> tuple[Any, ...]:
    """What the head set, and the part that is open, may be about, of all that the linked plots
    choose."""
    now = selection.current()
    if now.part not in PARTS:
        return now.marked, now.off
    query = (now.token, now.place) if now.part == "What if" else ()
    return now.layer, now.head, now.marked, now.off, now.images, *query


@st.fragment
def _panel(subject: Subject) -> None:
    if st.session_state.pop(BEHIND, False):
        st.rerun()
    now = selection.current()
    st.session_state[_ABOUT] = _about()
    of_set = net.guarded("the head set", lambda: head_sets.bar(subject), net.show)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html('<h2 class="hs-depth">In depth</h2>', width="content")
        mirror = mirroring(
            "depth_part",
            now.part if now.part in PARTS else None,
            lambda name: selection.change(part=name),
        )
        with st.container(key="depth_parts"):
            part = st.segmented_control(
                "Part",
                list(PARTS),
                label_visibility="collapsed",
                selection_mode="single",
                **mirror,
            )
    if part is None:
        st.caption(" · ".join(f"**{name}**: {about}" for name, (_, about) in PARTS.items()))
        job = None
    else:
        show_part, _ = PARTS[part]
        job = net.guarded(part, lambda: show_part(subject), net.show)
    running = any(each is not None and each.running for each in (job, of_set))
    # What was drawn as running may have ended since: then it is drawn once more.
    running = st.session_state.pop(UNFINISHED, False) or running
    every = OFTEN if part == "What if" else EVERY
    again("depth_again", every if running else None)
