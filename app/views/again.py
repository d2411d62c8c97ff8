"""Waiting for work in the background: meanwhile the browser asks for a fragment again."""

import streamlit as st

from ..linked import AGAIN

FIRST, SLOWER = 0.15, 1.6
"""Seconds before the first look, so that what is quick appears at once; how these grow."""


def again(key: str, most: float | None) -> None:
    """Have the browser run this fragment anew, at most `most` seconds from now; None: no more.

    Nothing but this fragment runs; `run_every` would need a run of the page to begin and to end it.
    """
    st.session_state[f"{key} looks"] = looks = (
        0 if most is None else st.session_state.get(f"{key} looks", 0) + 1
    )
    after = None if most is None else min(most, FIRST * SLOWER ** (looks - 1))
    AGAIN(
        key=key,
        data={"after": None if after is None else round(1000 * after), "looks": looks},
        on_again_change=lambda: None,
    )
