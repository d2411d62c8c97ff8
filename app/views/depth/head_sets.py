"""The head set: searched, named, kept, measured as one; a bar above "In depth"."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import selection
from ...figures.what_if import heads_words
from ...head_sets import Shelf
from ...jobs import Job
from . import head_set_effect, head_sets_kept
from .subject import Subject, change_everywhere

if TYPE_CHECKING:
    from .... import HeadSet, Study

Head = tuple[int, int]
_QUERY, _SAID, _JOIN = "head_set_query", "head_set_said", "head_set_join"
EXAMPLE = "entropy < 1 and distance > 100"

_HOW_TO_JOIN = {
    "replace": "is the set",
    "add": "is added",
    "common": "is kept in common",
    "remove": "is taken out",
}


def bar(subject: Subject) -> "Job[Any] | None":
    """One line, always there, and what is open below it; the job that is under way."""
    n_heads = _n_heads(subject)
    if not n_heads:
        return None
    now = selection.current()
    heads = now.marked_heads
    with st.container(horizontal=True, vertical_alignment="center", key="head_sets"):
        st.html('<h2 class="hs-depth">Head set</h2>', width="content")
        _search(subject)
        shelf = Shelf(_architecture(subject), n_heads)
        head_sets_kept.popover(shelf, heads, st.session_state.get(_QUERY, ""))
        n = len(heads)
        st.button(
            "What if",
            key="head_set_off",
            icon=":material/toggle_off:",
            help="Switch these heads off, and show what becomes of it",
            disabled=not heads,
            on_click=lambda: change_everywhere(off=now.marked, part="What if"),
        )
        is_open = head_set_effect.button(heads)
        st.button(
            "Clear",
            key="unmark",
            icon=":material/close:",
            type="tertiary",
            help="Take the outlines away",
            disabled=not heads,
            on_click=_clear,
        )
        if now.off_heads and now.part != "What if":
            st.button(
                f"{len(now.off_heads)} off: show",
                key="head_set_show_off",
                type="tertiary",
                help="Heads are switched off: show what becomes of it",
                on_click=lambda: change_everywhere(part="What if"),
            )
    words = (
        f"**{n} head{'s' * (n != 1)}**: {heads_words(heads, n_heads)}."
        if heads
        else ("No head is in the set: Shift-click heads, draw a lasso around them, or search.")
    )
    said, of = st.session_state.get(_SAID, ("", None))
    st.caption(f"{said} {words}".strip() if of == now.marked else words)
    if is_open and heads:
        return head_set_effect.show(subject, heads)
    return None


def _clear() -> None:
    st.session_state.pop(_SAID, None)
    change_everywhere(marked=None)


def _n_heads(subject: Subject) -> tuple[int, ...]:
    if subject.study is not None:
        return tuple(int(n) for n in subject.study.data["n_heads"].values)
    return subject.checkpoint.n_heads if subject.checkpoint is not None else ()


def _architecture(subject: Subject) -> str:
    if subject.checkpoint is not None:
        return subject.checkpoint.architecture
    study = subject.study
    return "" if study is None else str(study.data.attrs.get("architecture", study.model))


# -- search ----------------------------------------------------------------------------------------


def _search(subject: Subject) -> None:
    study = subject.study
    st.text_input(
        "Search heads",
        key=_QUERY,
        placeholder=EXAMPLE if study is not None else "the numbers are being measured…",
        label_visibility="collapsed",
        disabled=study is None,
        width=300,
        on_change=lambda: _find(study),
    )
    with st.popover("Help", key="head_set_help", type="tertiary"):
        _help(study)


def _help(study: "Study | None") -> None:
    st.markdown(
        f"Enter marks the heads that a query holds for: `{EXAMPLE}`. There are comparisons "
        "(`2 <= layer < 6`), `and`, `or`, `not`, parentheses; `std(entropy)`, `min`, `max`, "
        "`median` over images, a bare name is the mean; importance by one ablation as "
        "`probability_drop:mean`. Numbers are in the units of the atlas."
    )
    st.segmented_control(
        "What is found",
        list(_HOW_TO_JOIN),
        format_func=_HOW_TO_JOIN.__getitem__,
        key=_JOIN,
        default="replace",
        required=True,
        persist_state="session",
    )
    if study is None:
        return
    from ....analysis.importance.query import query_names

    units = {str(each.name): each.attrs for each in study.head_metrics()}
    rows = [
        {
            "name": name,
            "is": str(units.get(name, {}).get("long_name", f"Index of the {name}, from 0")),
            "in": str(units.get(name, {}).get("units", "")),
        }
        for name in query_names(study)
        if ":" not in name
    ]
    st.dataframe(rows, hide_index=True, height=260)
    qualified = [name for name in query_names(study) if ":" in name]
    if qualified:
        ablations = dict.fromkeys(name.partition(":")[2] for name in qualified)
        st.caption(f"Ablations of this study: {', '.join(ablations)}.")


def _find(study: "Study | None") -> None:
    """Mark what the query finds; a sentence where it cannot be read."""
    from .... import HeadscopeError, HeadSet

    query = str(st.session_state[_QUERY]).strip()
    if not query or study is None:
        st.session_state.pop(_SAID, None)
        return
    try:
        found = HeadSet.where(study, query)
    except HeadscopeError as error:
        said = f":red[{_plain(str(error))}]"
    else:
        said = _take(found)
    st.session_state[_SAID] = said, selection.current().marked


def _take(found: "HeadSet") -> str:
    """Join what was found with the set; what happened, in words."""
    before = set(selection.current().marked_heads)
    new = set(found)
    n = f"{len(new)} head{'s' * (len(new) != 1)} found"
    if not new:
        return "No head is like that; the set stays as it was."
    how = st.session_state.get(_JOIN, "replace")
    after = {
        "replace": new,
        "add": before | new,
        "common": before & new,
        "remove": before - new,
    }[how]
    change_everywhere(marked=selection.marking(after))
    return f"{n}." if how == "replace" else f"{n}; what is found {_HOW_TO_JOIN[how]}."


def _plain(text: str) -> str:
    """Nothing in it is markup."""
    return "".join("\\" + c if c in r"\`*_{}[]()<>#+-!|~$:" else c for c in text)
