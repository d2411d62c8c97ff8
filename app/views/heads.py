"""The linked plots: atlas, maps, head card."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from .. import selection
from ..figures import atlas, layers, palette, profile
from ..linked import FEED, LINKED, plotly_address
from ..selection import Selection
from . import board
from .depth import panel
from .depth.subject import Subject

if TYPE_CHECKING:
    from ... import Study

TAKEN = ("layer", "head", "token", "place", "metric", "scope", "marked", "off", "images")
"""What the linked plots choose."""

Feed = Callable[[Any], bytes]
"""What the browser says that it wants, or None, to the bytes of the maps."""


@dataclass(frozen=True)
class Scene:
    """All that the linked plots draw."""

    n_heads: tuple[int, ...] = ()
    layers: dict[str, Any] | None = None
    """Token layouts and which of them each layer is between."""
    size: tuple[int, int] = (1, 1)
    """Height and width of what the model sees, in pixels."""
    image: str = ""
    n_images: int = 1
    n_chosen: int = 0
    """Images that are chosen together, which means are over; 0: all."""
    metrics: list[Any] = field(default_factory=list)
    profile: dict[str, Any] | None = None
    measured: bool = False
    """Whether all numbers are there."""
    waiting: str = ""
    """Why something is not there yet."""
    feed: str | None = None
    """Name of the maps."""
    complete: bool = True
    """Whether the maps of all heads are in the browser."""


def of_study(
    study: "Study",
    image: int,
    among: Sequence[int] = (),
    numbers: tuple[atlas.HeadMetric, ...] | None = None,
) -> Scene:
    """The scene of an image of a study, without its maps.

    Means are over the images `among`, or all. `numbers` are those of the study, where they were
    asked for already.
    """
    numbers = numbers_of(study) if numbers is None else numbers
    data = study.data
    n_heads = tuple(int(n) for n in data["n_heads"].values)
    sides = [
        layers.LayerSides(layer.queries, layer.keys, layer.attention)
        for layer in study.layer_layouts
    ]
    return Scene(
        n_heads=n_heads,
        layers=layers.payload(sides),
        size=(data.sizes["row"], data.sizes["column"]),
        image=str(data["image"].values[image]),
        n_images=data.sizes["image"],
        n_chosen=len(among),
        metrics=atlas.payload(numbers, image, n_heads, among),
        profile=profile.payload(data, image, n_heads, sides, among),
        measured=True,
    )


def numbers_of(study: "Study") -> tuple[atlas.HeadMetric, ...]:
    """Every number per head that a study has."""
    return atlas.head_metrics(study.head_metrics(), study.data.get("share"))


def drawn(scene: Scene) -> dict[str, Any]:
    """What is drawn of the scene, as the browser takes it: plain values only."""
    return {
        "n_heads": list(scene.n_heads),
        **(scene.layers or {"tokens": [], "layers": []}),
        "size": list(scene.size),
        "image": scene.image,
        "n_images": scene.n_images,
        "n_chosen": scene.n_chosen,
        "metrics": scene.metrics,
        "profile": scene.profile,
        "measured": scene.measured,
        "waiting": scene.waiting,
        "feed": scene.feed,
        "on_demand": not scene.complete,
        "palette": palette.payload(),
    }


def payload(scene: Scene, chosen: Selection, stamp: int) -> dict[str, Any]:
    """The scene with what is chosen, as the browser takes it."""
    return {
        **drawn(scene),
        "plotly": plotly_address(),
        "stamp": stamp,
        "heard": st.session_state.get("sent_heard"),
        "selection": {key: getattr(chosen, key) for key in TAKEN},
    }


def show(scene: Scene, feed: Feed | None, subject: Subject) -> None:
    """Draw the scene; `feed` makes the bytes of the maps, `subject` is what the board is about."""
    st.session_state.pop("sent_stamp", None)
    # The container is always there: what follows it would else be made anew when maps arrive.
    with st.container(key="feeds"):
        if feed is not None and scene.complete:
            FEED(key="feed", data=feed(None))
    _linked(scene, feed, subject)


@st.fragment
def _linked(scene: Scene, feed: Feed | None, subject: Subject) -> None:
    if st.session_state.pop("went", False):
        st.rerun()  # all of the page is about another address
    # What Python sends changes only when Python changed it: a click must not come back as an echo
    # that overtakes the next click.
    if st.session_state.get("sent_stamp") != selection.stamp():
        # A server that was started anew has heard nothing, but the browser has told something.
        told = (st.session_state.get("linked") or {}).get("selection") or {}
        st.session_state.setdefault("heard", told.get("told"))
        st.session_state["sent_stamp"] = selection.stamp()
        st.session_state["sent"] = selection.current()
        st.session_state["sent_heard"] = st.session_state["heard"]
    LINKED(
        key="linked",
        data=payload(scene, st.session_state["sent"], selection.stamp()),
        on_selection_change=_take,
        on_wanted_change=lambda: None,
        on_went_change=_go,
        on_open_change=_open,
        on_asked_change=_ask,
    )
    with st.container(key="feeds_asked_for"):  # always: what follows keeps its place
        if feed is not None and not scene.complete:
            FEED(key="feed", data=feed(st.session_state["linked"].get("wanted")))
    board.follow(subject)
    panel.follow()


def _take() -> None:
    """A selection from the browser: numbers in range are checked where they are used."""
    told = st.session_state["linked"].get("selection")
    if isinstance(told, dict):
        chosen, notes = Selection.from_query(
            {key: str(value) for key, value in told.items() if value is not None}
        )
        before = selection.current()
        selection.change(by_plots=True, **{key: getattr(chosen, key) for key in TAKEN})
        if notes:  # the browser takes back what cannot be kept, a group that is too large
            selection.correct(notes)
        if notes or chosen.images != before.images:  # all numbers are about other images
            st.session_state["went"] = True
        st.session_state["heard"] = told.get("told")
        if chosen.off and chosen.off != before.off and before.part not in panel.PARTS:
            selection.change(part="What if")
            st.session_state["went"] = True


def _go() -> None:
    """The browser's back and forward."""
    told = st.session_state["linked"].get("went")
    if isinstance(told, dict):
        selection.went_to(str(told.get("search", "")))
        st.session_state["went"] = True


def _open() -> None:
    """A button of the linked plots that opens a part below, or shows another image."""
    told = st.session_state["linked"].get("open")
    if isinstance(told, dict):
        changes: dict[str, Any] = {key: str(told[key]) for key in {"part", "image"} & set(told)}
        selection.change(**changes)
        st.session_state["went"] = True


def _ask() -> None:
    """Panels of the board want something else to draw."""
    told = st.session_state["linked"].get("asked")
    if isinstance(told, dict) and isinstance(told.get("panels"), dict):
        before, now = st.session_state.get("asked", {}), dict(told["panels"])
        st.session_state["asked"] = now
        if any(
            wants != before.get(name) and not board.follows(name) for name, wants in now.items()
        ):
            st.session_state["went"] = True
