"""Widgets that show a part of the selection, which other parts of the page change, too."""

from collections.abc import Callable
from typing import Any

import streamlit as st


def mirroring(name: str, value: Any, take: Callable[[Any], None]) -> dict[str, Any]:
    """`key` and `on_change` of a widget that shows `value`; `take` gets what the user chooses.

    A browser that has not heard of a value yet sends the widget's old one with whatever is clicked
    next, and Streamlit would take it for a choice: the change would be undone. So a value that
    something else changed goes to a widget with a new key, and the old one is no longer heard.
    """
    numbers: dict[str, int] = st.session_state.setdefault("mirrors", {})
    number = numbers.setdefault(name, 0)
    key = _key(name, number)
    if key in st.session_state and st.session_state[key] != value:
        numbers[name] = number = number + 1
        key = _key(name, number)
    st.session_state[key] = value

    def heard() -> None:
        if numbers[name] == number:
            take(st.session_state[key])

    return {"key": key, "on_change": heard}


def _key(name: str, number: int) -> str:
    return f"{name} {number}" if number else name
