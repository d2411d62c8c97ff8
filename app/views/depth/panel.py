"""Heads in depth, below the linked plots: ranking, heads together, synergy.

Nothing is computed before a part is opened. What takes long runs in the background.
"""

import streamlit as st

from ... import selection
from . import ranking, together
from .subject import Subject

EVERY = 1.0
"""Seconds between two looks at what runs: a chart is drawn again each time."""
_OPEN, _WATCHING, _HEAD = "depth_part", "depth_watching", "depth_head"


def show(subject: Subject) -> None:
    """The panel; while something runs it looks again every now and then."""
    watching = bool(st.session_state.get(_WATCHING)) and st.session_state.get(_OPEN) is not None
    with st.container(key="depth"):
        st.fragment(_panel, run_every=EVERY if watching else None)(subject, watching)


def follow() -> None:
    """Called when the linked plots have told of a click: the panel is about that head, too."""
    now = selection.current()
    head = (now.layer, now.head)
    if st.session_state.get(_OPEN) is not None and st.session_state.get(_HEAD) != head:
        st.session_state[_HEAD] = head
        st.rerun()


def _panel(subject: Subject, watching: bool) -> None:  # noqa: FBT001
    parts = {"Ranking": ranking.show, "Together": together.curves, "Synergy": together.synergy}
    now = selection.current()
    st.session_state[_HEAD] = (now.layer, now.head)
    left, right = st.columns([2, 3], vertical_alignment="center")
    left.html('<h2 class="hs-depth">Heads in depth</h2>')
    with right.container(horizontal=True, horizontal_alignment="right"):
        part = st.segmented_control(
            "Part", list(parts), key=_OPEN, label_visibility="collapsed", selection_mode="single"
        )
    if part is None:
        st.caption(
            "Which heads are surely the most important, what is left when heads are removed "
            "together, and which heads stand in for each other."
        )
        job = None
    else:
        job = parts[part](subject)
    running = job is not None and job.running
    if running != watching:
        st.session_state[_WATCHING] = running
        st.rerun()
