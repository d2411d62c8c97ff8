"""The last net: an unforeseen error is a sentence with a way out, and a line in the log."""

import html
import logging
from collections.abc import Callable
from typing import TypeVar

import streamlit as st
from streamlit import error_util

T = TypeVar("T")

LOG = logging.getLogger("headscope")
ANEW = "Open the page anew"


def install() -> None:
    """Say it in the place of Streamlit's own box, also for errors in callbacks and fragments."""
    error_util.show_uncaught_app_exception = _say


def guarded(what: str, work: Callable[[], T], otherwise: Callable[[str], T]) -> T:
    """What `work` gives; where it fails, the rest of the page goes on with `otherwise(sentence)`.

    Streamlit's own signals (stop, rerun) are no `Exception` and pass.
    """
    try:
        return work()
    except Exception as error:
        LOG.exception("%s failed", what)
        return otherwise(sentence(error, what))


def sentence(error: BaseException, what: str = "this view") -> str:
    """What is said of an error that should not be."""
    reason = " ".join(str(error).split())[:200]
    told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return (
        f"Something went wrong in headscope itself: {what} could not be shown ({told}). Choose "
        "something else, or open the page anew; the terminal where headscope runs has the details, "
        "which make a good report."
    )


def show(text: str) -> None:
    """The sentence, and the way out."""
    st.error(_plain(text))
    st.html(f'<a href="./" target="_self" class="hs-anew">{html.escape(ANEW)}</a>')


def _say(error: BaseException) -> None:
    try:
        show(sentence(error))
    except Exception:
        LOG.exception("an error could not be shown")


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join("\\" + sign if sign in r"\`*_{}[]<>#|~$" else sign for sign in text)
