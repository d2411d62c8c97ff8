"""The board: what its panels draw, brought to the browser panel by panel.

A panel is a file here with `part(subject)`, the plain values and arrays that its JavaScript class
in `app/linked/board/` draws; the file's name is the panel's. Where there is nothing to show a part
is `{"waiting": sentence}`, with `"action": {"label": …, "part": …}` where something helps.
"""

import importlib
import pkgutil
from typing import Any

import streamlit as st

from ...figures.packing import pack
from ...jobs import Job
from ...linked import BRING
from ..depth.subject import Subject

EVERY = 0.5
"""Seconds between two looks at what a panel waits for."""


def bring(subject: Subject) -> None:
    """Send every panel what it draws; what is the same as before does not cross the wire again."""
    with st.container(key="parts"):
        for module in pkgutil.iter_modules(__path__):
            panel = importlib.import_module(f"{__name__}.{module.name}")
            content = {"panel": module.name, **panel.part(subject)}
            BRING(key=f"board {module.name}", data=pack(content))


def later(job: Job[Any]) -> None:
    """Run the page again as soon as the job that a panel waits for has ended."""
    st.fragment(_watch, run_every=EVERY)(job)


def _watch(job: Job[Any]) -> None:
    if not job.running:
        st.rerun()
