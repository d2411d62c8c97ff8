"""Head sets under names: kept on the server's disk, and as files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import selection
from ...head_sets import LONGEST, Shelf, checked_name
from .subject import change_everywhere

if TYPE_CHECKING:
    from .... import HeadSet

_SAID, _NAME, _CHOSEN, _NEW = "kept_said", "kept_name", "kept_chosen", "kept_new"


def popover(shelf: Shelf, heads: Sequence[tuple[int, int]], query: str) -> None:
    """Save, load, rename, delete, download and upload."""
    with st.popover("Saved sets", icon=":material/bookmark:", key="kept_open"):
        said = st.session_state.get(_SAID)
        if said:
            st.markdown(said)
        known = shelf.all()
        _saving(shelf, heads, query)
        if known:
            _known(shelf, known)
        else:
            st.caption(
                "There are no sets of these heads yet. They are kept for checkpoints of the same "
                "architecture with the same heads."
            )
        _upload(shelf)


def _saving(shelf: Shelf, heads: Sequence[tuple[int, int]], query: str) -> None:
    n = len(heads)
    with st.form("kept_save", border=False, enter_to_submit=True):
        name, go = st.columns([3, 1], vertical_alignment="bottom")
        name.text_input(
            f"Save the {n} marked head{'s' * (n != 1)} as" if n else "Mark heads to save them",
            key=_NAME,
            max_chars=LONGEST,
            disabled=not n,
        )
        go.form_submit_button(
            "Save", disabled=not n, on_click=lambda: _try(lambda: _save(shelf, heads, query))
        )


def _save(shelf: Shelf, heads: Sequence[tuple[int, int]], query: str) -> str:
    from .... import HeadSet

    name = checked_name(str(st.session_state[_NAME]))
    replaced = name in shelf.all()
    shelf.save(HeadSet(name, tuple(heads), query))
    st.session_state[_CHOSEN] = name
    return f"{'Replaced' if replaced else 'Saved'}: {_code(name)}."


def _known(shelf: Shelf, known: "dict[str, HeadSet]") -> None:
    if st.session_state.get(_CHOSEN) not in known:
        st.session_state[_CHOSEN] = next(iter(known))
    chosen = st.selectbox(
        "Saved",
        list(known),
        key=_CHOSEN,
        format_func=lambda name: f"{name} ({len(known[name])})",
    )
    headset = known[chosen]
    if headset.query:
        st.caption(f"Found by {_code(headset.query)}")
    with st.container(horizontal=True):
        st.button(
            "Load",
            key="kept_load",
            type="primary",
            on_click=lambda: _try(lambda: _load(headset)),
        )
        st.download_button(
            "Download",
            shelf.text(headset),
            file_name=f"{_file(chosen)}.json",
            mime="application/json",
            key="kept_download",
            on_click="ignore",
        )
        st.button(
            "Delete", key="kept_delete", on_click=lambda: _try(lambda: _delete(shelf, chosen))
        )
    with st.form("kept_rename", border=False):
        name, go = st.columns([3, 1], vertical_alignment="bottom")
        name.text_input("New name", key=_NEW, max_chars=LONGEST)
        go.form_submit_button("Rename", on_click=lambda: _try(lambda: _rename(shelf, chosen)))


def _load(headset: "HeadSet") -> str:
    change_everywhere(marked=selection.marking(headset.heads))
    return f"Loaded: {_code(headset.name)}."


def _delete(shelf: Shelf, name: str) -> str:
    shelf.delete(name)
    return f"Deleted: {_code(name)}."


def _rename(shelf: Shelf, old: str) -> str:
    new = checked_name(str(st.session_state[_NEW]))
    shelf.rename(old, new)
    st.session_state[_CHOSEN] = new
    st.session_state[_NEW] = ""
    return f"Renamed: {_code(new)}."


def _upload(shelf: Shelf) -> None:
    st.file_uploader(
        "Upload a set (JSON)",
        type="json",
        key="kept_upload",
        max_upload_size=1,
        on_change=lambda: _try(lambda: _take(shelf)),
    )


def _take(shelf: Shelf) -> str:
    file: Any = st.session_state.get("kept_upload")
    if file is None:  # taken out of the box again
        return ""
    headset = shelf.read(file.getvalue(), file.name)
    shelf.save(headset)
    st.session_state[_CHOSEN] = headset.name
    return f"Saved: {_code(headset.name)}, {len(headset)} heads."


def _try(act: Any) -> None:
    """Do it, and say what happened or what is wrong."""
    from .... import HeadscopeError

    try:
        st.session_state[_SAID] = act()
    except HeadscopeError as error:
        st.session_state[_SAID] = f":red[{str(error).translate(_ESCAPE)}]"


_ESCAPE = {ord(c): "\\" + c for c in r"\`*_{}[]<>#|~$:"}


def _code(name: str) -> str:
    """A name as it is, whatever is in it."""
    return f"**{name.translate(_ESCAPE)}**"


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "heads"
