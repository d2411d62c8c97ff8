"""What is being looked at: the one owner of linked state, which is also the page's address."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal
from urllib.parse import parse_qsl

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

Scope = Literal["image", "mean"]

_LONGEST_LIST = 3000
"""Characters of the names of several studies."""
_MOST_IMAGES = 1_000_000
"""Images that an address chooses together."""
_LONGEST = 300
"""Characters of a value in an address; nothing that the page writes is longer."""


@dataclass(frozen=True)
class Selection:
    """What the page shows; None leaves the choice to the page."""

    study: str | None = None
    """Name of the study that the page was opened with; no checkpoint is chosen then."""
    checkpoint: str | None = None
    arch: str | None = None
    """timm architecture of a weights file that does not name its own."""
    weights: Literal["random"] | None = None
    image: str | None = None
    """Name of a sample, of an image of the study, or `"upload:"` with the file's digest."""
    target: int | None = None
    """Index of the class that importance is about; None: the predicted one."""
    layer: int | None = None
    head: int | None = None
    token: int | None = None
    """Index of the query token, in the selected layer."""
    place: str | None = None
    """The query where the selected layer has no such token: `"class"`, `"register 2"`, pixels as
    `"120,88"` (row, column), or `"mean"` of all queries."""
    metric: str | None = None
    """Key of the number that colours the atlas."""
    scope: Scope | None = None
    """Numbers of this image, or their mean over the study."""
    marked: str | None = None
    """The head set: heads that are outlined everywhere, `"3.1,5.0"`: layer and head of each."""
    off: str | None = None
    """Heads that are switched off in "What if", in the same form."""
    how: str | None = None
    """Name of the ablation that takes their place; None: `zero`."""
    images: str | None = None
    """Images of the study that are chosen together, by index: `"0-5,9"`."""
    part: str | None = None
    """The part that is open below the linked plots."""
    against: str | None = None
    """Name of the study that is compared with."""

    @property
    def marked_heads(self) -> tuple[tuple[int, int], ...]:
        """Layer and head of each head of the head set."""
        return _heads(self.marked)

    @property
    def off_heads(self) -> tuple[tuple[int, int], ...]:
        """Layer and head of each head that is switched off."""
        return _heads(self.off)

    @property
    def chosen_images(self) -> tuple[int, ...]:
        """Indices of the images that are chosen together, in order; empty: all."""
        spans = _spans(self.images or "")
        return tuple(sorted({i for low, high in spans for i in range(low, high + 1)}))

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> tuple["Selection", tuple[str, ...]]:
        """The selection in an address, and a sentence for each value that was left out."""
        known = {field.name for field in fields(cls)}
        taken: dict[str, Any] = {}
        notes: list[str] = []
        for key, text in query.items():
            if key not in known:
                continue
            value = _read(key, text)
            if value is None:
                shown = text if len(text) <= 40 else text[:40] + "…"
                notes.append(
                    f"The link's {key}, {shown!r}, is not {_EXPECTED[key]}; it was left out."
                )
            else:
                taken[key] = value
        if ("layer" in taken) != ("head" in taken):
            taken.pop("layer", None)
            taken.pop("head", None)
        return cls(**taken), tuple(notes)

    def to_query(self) -> dict[str, str]:
        """The address; what is left to the page is left out."""
        return {key: str(value) for key, value in asdict(self).items() if value is not None}

    def fit(
        self, n_heads: Sequence[int], n_tokens: Sequence[int], name: str
    ) -> tuple["Selection", tuple[str, ...]]:
        """The selection without a head or token that is not there, and a sentence for each.

        `n_tokens` are the query tokens of each layer.
        """
        fitted, notes = self, []
        if self.layer is not None and self.head is not None:
            if self.layer >= len(n_heads):
                notes.append(
                    f"{name} has {len(n_heads)} layers, so there is no layer {self.layer}."
                )
            elif self.head >= n_heads[self.layer]:
                notes.append(
                    f"Layer {self.layer} of {name} has {n_heads[self.layer]} heads, "
                    f"so there is no head {self.head}."
                )
            if notes:
                fitted = replace(fitted, layer=None, head=None)
        for key, verb in (("marked", "marks"), ("off", "switches off")):
            heads = _heads(getattr(self, key))
            there = [at for at in heads if at[0] < len(n_heads) and at[1] < n_heads[at[0]]]
            if len(there) < len(heads):
                notes.append(f"{name} lacks some of the heads that the link {verb}.")
                fitted = replace(fitted, **{key: marking(there)})
        if self.token is not None:
            layer = fitted.layer
            there = max(n_tokens, default=0) if layer is None else n_tokens[layer]
            if self.token >= there:
                alike = layer is None or len(set(n_tokens)) == 1
                subject = name if alike else f"Layer {layer} of {name}"
                notes.append(f"{subject} has {there} tokens, so there is no token {self.token}.")
                fitted = replace(fitted, token=None)
        return fitted, tuple(notes)


def marking(heads: Iterable[tuple[int, int]]) -> str | None:
    """Heads as `Selection.marked` has them; None where there is none."""
    return ",".join(f"{layer}.{head}" for layer, head in sorted(set(heads))) or None


def spanning(images: Iterable[int]) -> str | None:
    """Indices of images as `Selection.images` has them; None where there is none."""
    spans: list[list[int]] = []
    for index in sorted(set(images)):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(f"{a}-{b}" if a < b else str(a) for a, b in spans) or None


def _spans(text: str) -> list[tuple[int, int]]:
    """First and last image of each span."""
    ends = [span.partition("-") for span in text.split(",") if span]
    return [(int(low), int(high or low)) for low, _, high in ends]


def _count(text: str) -> int:
    return sum(high - low + 1 for low, high in _spans(text))


def _heads(text: str | None) -> tuple[tuple[int, int], ...]:
    pairs = (pair.split(".") for pair in (text or "").split(",") if pair)
    return tuple((int(layer), int(head)) for layer, head in pairs)


_HEADS = re.compile(r"\d{1,3}\.\d{1,3}(,\d{1,3}\.\d{1,3}){0,999}")
_SPANS = re.compile(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?){0,2999}")
_FORMS = {"marked": _HEADS, "off": _HEADS, "images": _SPANS}
_NUMBERS = ("target", "layer", "head", "token")
_EXPECTED = {
    **dict.fromkeys((field.name for field in fields(Selection)), "a name"),
    **dict.fromkeys(_NUMBERS, "a whole number from 0"),
    "weights": "“random”",
    "scope": "“image” or “mean”",
    **dict.fromkeys(("marked", "off"), "heads as “3.1,5.0”"),
    "images": "images as “0-5,9”",
}


def _read(key: str, text: str) -> int | str | None:
    """A value of an address, or None where it is malformed."""
    if key in _FORMS:
        well = text.isascii() and _FORMS[key].fullmatch(text)
        return text if well and (key != "images" or _count(text) <= _MOST_IMAGES) else None
    if (
        not text
        or len(text) > (_LONGEST_LIST if key == "against" else _LONGEST)
        or not text.isprintable()
    ):
        return None
    if key in _NUMBERS:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
    if key == "weights":
        return text if text == "random" else None
    if key == "scope":
        return text if text in ("image", "mean") else None
    return text


def current() -> Selection:
    """The selection of this session; at first that of the address which it was opened with."""
    if "selection" not in st.session_state:
        _follow(dict(st.query_params))
    return st.session_state["selection"]


def stamp() -> int:
    """Grows when the selection was changed by anything but the linked plots themselves."""
    return st.session_state.setdefault("stamp", 0)


def change(*, by_plots: bool = False, **changes: Any) -> None:
    """Change the selection, and the address with it."""
    st.session_state["selection"] = replace(current(), **changes)
    if not by_plots:
        st.session_state["stamp"] = stamp() + 1
    st.session_state["notes"] = ()
    _write()


def correct(sentences: Sequence[str], **changes: Any) -> None:
    """Take something out of the selection, and keep saying why until the next change."""
    before = notes()
    change(**changes)
    st.session_state["notes"] = (*before, *sentences)


def notes() -> tuple[str, ...]:
    """What was wrong with the address, in sentences."""
    return st.session_state.get("notes", ())


def went_to(search: str) -> None:
    """Somebody went back or forward to an address of this page, `"?image=coffee&layer=3"`.

    The browser tells it by itself: the address that comes with every run may be the one from
    before the last change, which the browser had not heard of when it asked.
    """
    query = dict(parse_qsl(search.removeprefix("?")))
    _keep_quietly(query)
    _follow(query)


def go_to(search: str) -> None:
    """Look at an address that was written down earlier; the browser goes there, too."""
    _follow(dict(parse_qsl(search.removeprefix("?"))))


def _keep_quietly(query: Mapping[str, str]) -> None:
    """Take an address over from the browser without telling it: said back, it would become a new
    entry of the history where the browser has gone on to the next address meanwhile.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    with context.session_state.query_params() as kept:
        kept.clear_with_no_forward_msg(preserve_embed=True)
        for key, value in query.items():
            kept.set_with_no_forward_msg(key, value)


def _follow(query: Mapping[str, str]) -> None:
    st.session_state["selection"], st.session_state["notes"] = Selection.from_query(query)
    st.session_state["stamp"] = stamp() + 1
    _write()


def _write() -> None:
    query = current().to_query()
    if dict(st.query_params) != query:
        st.query_params.from_dict(query)
