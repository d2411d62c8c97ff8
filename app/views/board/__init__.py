"""The board: what its panels draw, brought to the browser panel by panel.

A panel is a file here with `part(subject)`, the plain values and arrays that its JavaScript class
in `app/linked/board/` draws; the file's name is the panel's. Where there is nothing to show a part
is `{"waiting": sentence}`, with `"action": {"label": …, "part": …}` where something helps; while
something of it is made in the background it has `"running": True`, and is asked for again.

A panel whose part hangs on the selection says `FOLLOWS = True`: it is brought again at every click,
without a run of the page.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import streamlit as st

from ...figures.packing import pack
from ...linked import BRING
from .. import net
from ..again import again
from ..depth.subject import Subject

EVERY = 0.4
"""Seconds between two looks at what a panel waits for."""


@st.fragment
def bring(subject: Subject) -> None:
    """Send every panel what it draws; what is the same as before does not cross the wire again."""
    _bring("parts", subject, following=False)


def follow(subject: Subject) -> None:
    """The same for the panels that follow the selection: called when the browser told of one."""
    _bring("followed", subject, following=True)


def _bring(key: str, subject: Subject, *, following: bool) -> None:
    with st.container(key=key):
        parts = {
            name: _part(name, panel, subject)
            for name, panel in _panels().items()
            if follows(name) == following
        }
        for name, part in parts.items():
            BRING(key=f"board {name}", data=pack({"panel": name, **part}))
        running = any(part.get("running") for part in parts.values())
        again(f"{key} again", EVERY if running else None)


def _part(name: str, panel: ModuleType, subject: Subject) -> dict[str, Any]:
    return net.guarded(
        f"the panel {name}", lambda: panel.part(subject), lambda sentence: {"waiting": sentence}
    )


def follows(panel: str) -> bool:
    """Whether a panel follows the selection."""
    return getattr(_panels().get(panel), "FOLLOWS", False)


def asked(panel: str) -> dict[str, Any]:
    """What the browser has asked of a panel, `app.ask(panel, wants)`; empty: nothing yet."""
    wants = st.session_state.get("asked", {}).get(panel)
    return wants if isinstance(wants, dict) else {}


def _panels() -> dict[str, ModuleType]:
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    }
