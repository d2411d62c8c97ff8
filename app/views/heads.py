"""The linked plots: atlas, maps, head card."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from .. import selection
from ..figures import palette
from ..linked import FEED, LINKED, plotly_address
from ..selection import Selection

Feed = Callable[..., bytes]
"""`feed(wanted=(layer, head, token) or None)`: the bytes of the maps."""


@dataclass(frozen=True)
class Scene:
    """All that the linked plots draw."""

    n_heads: tuple[int, ...] = ()
    layout: dict[str, Any] | None = None
    image: str = ""
    n_images: int = 1
    metrics: list[Any] = field(default_factory=list)
    profile: dict[str, Any] | None = None
    waiting: str = ""
    """Why something is not there yet."""
    feed: str | None = None
    """Name of the maps."""
    complete: bool = True
    """Whether the maps of all heads are in the browser."""


def payload(scene: Scene, chosen: Selection, stamp: int) -> dict[str, Any]:
    """The scene as the browser takes it: plain values only."""
    return {
        "n_heads": list(scene.n_heads),
        "layout": scene.layout,
        "image": scene.image,
        "n_images": scene.n_images,
        "metrics": scene.metrics,
        "profile": scene.profile,
        "waiting": scene.waiting,
        "feed": scene.feed,
        "on_demand": not scene.complete,
        "palette": palette.payload(),
        "plotly": plotly_address(),
        "stamp": stamp,
        "selection": {
            key: getattr(chosen, key) for key in ("layer", "head", "token", "metric", "scope")
        },
    }


def show(scene: Scene, feed: Feed | None) -> None:
    """Draw the scene; `feed(wanted=…)` makes the bytes of the maps."""
    if feed is not None and scene.complete:
        with st.container(key="feeds"):
            FEED(key="feed", data=feed(wanted=None))
    _linked(scene, feed)


@st.fragment
def _linked(scene: Scene, feed: Feed | None) -> None:
    # What Python sends changes only when Python changed it: a click must not come back as an echo
    # that overtakes the next click.
    if st.session_state.get("sent_stamp") != selection.stamp():
        st.session_state["sent_stamp"] = selection.stamp()
        st.session_state["sent"] = selection.current()
    LINKED(
        key="linked",
        data=payload(scene, st.session_state["sent"], selection.stamp()),
        on_selection_change=_take,
        on_wanted_change=lambda: None,
    )
    if feed is not None and not scene.complete:
        wanted = st.session_state["linked"].get("wanted")
        place = (wanted["layer"], wanted["head"], wanted["token"]) if wanted else None
        with st.container(key="feeds"):
            FEED(key="feed", data=feed(wanted=place))
    selection.settle()


def _take() -> None:
    """A selection from the browser: numbers in range are checked where they are used."""
    told = st.session_state["linked"].get("selection")
    if isinstance(told, dict):
        chosen, _ = Selection.from_query(
            {key: str(value) for key, value in told.items() if value is not None}
        )
        selection.change(
            by_plots=True,
            layer=chosen.layer,
            head=chosen.head,
            token=chosen.token,
            metric=chosen.metric,
            scope=chosen.scope,
        )
