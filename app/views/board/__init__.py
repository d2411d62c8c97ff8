"""The board: what its panels draw, brought to the browser panel by panel.

A panel is a file here with `part(subject)`, the plain values and arrays that its JavaScript class
in `app/linked/board/` draws; the file's name is the panel's. Where there is nothing to show a part
is `{"waiting": sentence}`, with `"action": {"label": …, "part": …}` where something helps.
"""

import importlib
import pkgutil

import streamlit as st

from ...figures.packing import pack
from ...linked import BRING
from .. import net
from ..depth.subject import Subject


def bring(subject: Subject) -> None:
    """Send every panel what it draws; what is the same as before does not cross the wire again."""
    with st.container(key="parts"):
        for module in pkgutil.iter_modules(__path__):
            panel = importlib.import_module(f"{__name__}.{module.name}")
            content = {
                "panel": module.name,
                **net.guarded(
                    f"the panel {module.name}",
                    lambda panel=panel: panel.part(subject),
                    lambda sentence: {"waiting": sentence},
                ),
            }
            BRING(key=f"board {module.name}", data=pack(content))
