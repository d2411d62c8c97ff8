"""What takes the place of heads that are switched off: the ablation, with what it lets choose."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import selection
from ...figures import ablation_names as names
from ...figures.ablation_names import Name

if TYPE_CHECKING:
    from .... import Checkpoint

DEFAULT = "zero"
_FORM, _SCALED, _KEPT = "what_if_form", "what_if_scaled", "what_if_kept"
_P = 0.6


def choose(checkpoint: "Checkpoint", layers: "set[int]") -> "tuple[str, list[Any]]":
    """The name of the ablation, from and to the address; a sentence where there is no such.

    `layers` are those of the heads that are off: which kinds of token can be chosen. With it come
    two places in the same line, for what else is chosen.
    """
    from .... import ablations

    forms = ablations()
    asked = selection.current().how or DEFAULT
    name = names.read(asked, forms)
    if name is None:
        st.warning(
            f"The link's ablation, {asked!r}, is none of the {len(forms)} that there are; heads "
            "are set to zero. Choose one below."
        )
        asked, name = DEFAULT, names.first_of(DEFAULT)
    _keep(name)
    n_more = len(name.choices) + _has_more(name, forms)
    columns = st.columns([5, *[2] * n_more, 4, 5], vertical_alignment="bottom")
    with columns[0]:
        st.selectbox(
            "What takes their place",
            names.plain_forms(forms),
            key=_FORM,
            format_func=names.words,
            on_change=_changed_form,
            help=f"{forms[name.form]}",
        )
    for index, (choice, column) in enumerate(zip(name.choices, columns[1:], strict=False)):
        with column:
            _choice(name, index, choice, checkpoint, layers)
    with columns[n_more]:
        if names.can_keep(name.form):
            st.slider(
                "p, kept by sinks", 0.0, 1.0, step=0.05, key=_KEPT, on_change=_changed, args=(name,)
            )
        if names.can_renormalise(name.form, forms):
            st.checkbox(
                "Scale back",
                key=_SCALED,
                on_change=_changed,
                args=(name,),
                help="Each row is scaled to the sum that it had: the rest shares what was cut",
            )
    return asked, columns[-2:]


def _has_more(name: Name, forms: object) -> bool:
    return names.can_keep(name.form) or names.can_renormalise(name.form, forms)  # pyright: ignore


def _keep(name: Name) -> None:
    """The widgets show what the address says."""
    wanted = {
        _FORM: name.form,
        _SCALED: name.renormalised,
        _KEPT: _P if name.kept is None else min(1.0, max(0.0, name.kept)),
        **{_key(index): value for index, value in enumerate(name.values)},
    }
    for key, value in wanted.items():
        if st.session_state.get(key) != value:
            st.session_state[key] = value


def _key(index: int) -> str:
    return f"what_if_value_{index}"


def _choice(
    name: Name, index: int, choice: str, checkpoint: "Checkpoint", layers: "set[int]"
) -> None:
    label, key = names.CHOICES.get(choice, choice), _key(index)
    if choice not in ("QUERY", "KEY"):
        st.text_input(label, key=key, on_change=_changed, args=(name,))
        return
    sides = [checkpoint.layers[layer].layout for layer in sorted(layers) or [0]]
    of = [side.queries if choice == "QUERY" else side.keys for side in sides]
    kinds = dict.fromkeys([*(kind for layout in of for kind in layout.present_kinds), "any"])
    st.selectbox(
        label,
        list(dict.fromkeys([*kinds, name.values[index]])),
        key=key,
        on_change=_changed,
        args=(name,),
    )


def _changed_form() -> None:
    selection.change(how=names.first_of(st.session_state[_FORM]).text)


def _changed(name: Name) -> None:
    values = tuple(
        str(st.session_state[_key(index)]).strip() or old for index, old in enumerate(name.values)
    )
    kept: float | None = None
    if names.can_keep(name.form) and st.session_state[_KEPT] != _P:
        kept = float(st.session_state[_KEPT])
    scaled = bool(st.session_state.get(_SCALED)) and not names.can_keep(name.form)
    selection.change(how=replace(name, values=values, renormalised=scaled, kept=kept).text)
