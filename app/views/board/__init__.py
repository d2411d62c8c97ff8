"""The board: what its panels draw, brought to the browser panel by panel.

A panel is a file here with `part(subject)`, the plain values and arrays that its JavaScript class
in `app/linked/board/` draws; the file's name is the panel's. Where there is nothing to show a part
is `{"waiting": sentence}`, with `"action": {"label": …, "part": …}` where something helps.

A panel whose part hangs on the selection, or is made in the background, says `FOLLOWS = True`: it
is brought again at every click, without a run of the page; while its part is `{"running": True, …}`
the browser asks again.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import streamlit as st

from ...figures.packing import pack
from ...jobs import Job
from ...linked import BRING
from .. import net
from ..depth.subject import Subject

EVERY = 0.5
"""Seconds between two looks at what a panel waits for."""


def bring(subject: Subject) -> None:
    """Send every panel what it draws; what is the same as before does not cross the wire again."""
    with st.container(key="parts"):
        for name, panel in _panels().items():
            if not follows(name):
                _bring(name, panel, subject)


def follow(subject: Subject) -> None:
    """The same for the panels that follow the selection: called when the browser told of one."""
    with st.container(key="followed"):
        for name, panel in _panels().items():
            if follows(name):
                _bring(name, panel, subject)


def follows(panel: str) -> bool:
    """Whether a panel follows the selection."""
    return getattr(_panels().get(panel), "FOLLOWS", False)


def later(job: Job[Any]) -> None:
    """Run the page again as soon as the job that a panel waits for has ended."""
    st.fragment(_watch, run_every=EVERY)(job)


def _watch(job: Job[Any]) -> None:
    if not job.running:
        st.rerun()


def asked(panel: str) -> dict[str, Any]:
    """What the browser has asked of a panel, `app.ask(panel, wants)`; empty: nothing yet."""
    wants = st.session_state.get("asked", {}).get(panel)
    return wants if isinstance(wants, dict) else {}


def _bring(name: str, panel: ModuleType, subject: Subject) -> None:
    part = net.guarded(
        f"the panel {name}", lambda: panel.part(subject), lambda sentence: {"waiting": sentence}
    )
    BRING(key=f"board {name}", data=pack({"panel": name, **part}))


def _panels() -> dict[str, ModuleType]:
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    }
