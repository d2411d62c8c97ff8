"""Export: figures of the study on paper, with their tables, captions and the command for them."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth, selection, services, studies
from ...export.sheet import BACKGROUNDS, FONTS, NUMBERS, PRESETS, SIGNED, Sheet, limits
from ...jobs import Job
from . import compare, printing, supplement_offer
from .subject import Subject, key_of

if TYPE_CHECKING:
    from ....models.layout import TokenLayout
    from ...export.package import Made
    from ...figures.paper import Maker, Request

_AT_ONCE = 3
"""Figures of a zip that are made on a click; more are made first, with their progress."""
_AS_SHOWN = "as on the page"
_FORMATS = ("pdf", "svg", "png", "csv")


def show(subject: Subject) -> "Job[Any] | None":
    """Choose figures and settings, see them on paper, take them away; the job under way."""
    from .... import HeadscopeError

    study = subject.study
    if study is None or study.n_done == 0:
        st.caption("The heads are still being measured; their figures can be exported then.")
        return None
    if selection.current().chosen_images:
        st.info("Figures are over all images of the study, not over those chosen together.")
    left, right = st.columns([2, 3], gap="large")
    try:
        request = _request(subject)
        with left:
            makers = _makers(request)
            chosen = _figures(makers)
            sheet = _sheet()
            whole = supplement_offer.offer(subject)
        if not chosen:
            right.caption("Choose a figure.")
            return whole
        with right:
            job = _shown(request, makers, chosen, sheet)
        return job if job is not None and job.running else whole
    except HeadscopeError as error:
        st.error(str(error))
    return None


# -- what is chosen --------------------------------------------------------------------------------


def _request(subject: Subject) -> "Request":
    """What the page shows, as figures take it."""
    from ...figures.paper import Request
    from ...figures.paper.base import metrics_of

    study = subject.study
    assert study is not None
    now = selection.current()
    head = (now.layer, now.head) if now.layer is not None and now.head is not None else None
    there = [str(name) for name in study.data["image"].values]
    names = (now.against or "").split(compare.BETWEEN)
    against = next((studies.known()[name] for name in names if name in studies.known()), None)
    return Request(
        study=study,
        against=None if against is None else services.opened_study(against),
        checkpoint=subject.checkpoint,
        metric=now.metric if now.metric in metrics_of(study) else None,
        head=head,
        image=now.image if now.image in there else None,
        scope="image" if now.scope == "image" and study.n_images > 1 else "mean",
        query=_query(now, study.layer_layouts[head[0] if head else 0].queries),
        marked=now.marked_heads,
    )


def _query(now: selection.Selection, layout: "TokenLayout") -> str | None:
    """The query of the page by its name or its place, as layers may have other tokens."""
    if now.place is not None:
        return now.place
    if now.token is None or now.token >= layout.n_tokens:
        return None
    if not layout.is_patch[now.token]:
        return list(layout.labels())[now.token]
    row, column = layout.centres[int(np.flatnonzero(layout.is_patch).tolist().index(now.token))]
    return f"{row:g},{column:g}"


def _makers(request: "Request") -> "dict[str, Maker]":
    """Figures that can be made of it."""
    from ...figures.paper import makers

    return {name: maker for name, maker in makers().items() if not maker.why_not(request)}


def _figures(makers: "dict[str, Maker]") -> list[str]:
    kept = [name for name in st.session_state.get("export_figures", ["atlas"]) if name in makers]
    st.session_state["export_figures"] = kept
    return st.multiselect(
        "Figures",
        list(makers),
        key="export_figures",
        format_func=lambda name: makers[name].title,
        help="They are about the head, image, query and number that the page shows.",
    )


def _sheet() -> Sheet:
    first, second = st.columns(2)
    width = first.selectbox(
        "Width",
        list(PRESETS),
        key="export_width",
        accept_new_options=True,
        help="One and two columns of Nature and of IEEE; or type one, such as 120mm or 5in",
    )
    font_size = second.number_input(
        "Text, pt", 4.0, 24.0, 7.0, 0.5, key="export_font_size", format="%g"
    )
    first, second = st.columns(2)
    height = first.text_input(
        "Height", key="export_height", placeholder="what suits it", help="Such as 60mm or 2.5in"
    )
    letter = second.text_input(
        "Panel letter", key="export_letter", max_chars=3, help="Of the first figure; others go on"
    )
    with st.expander("Colours, font, resolution"):
        first, second = st.columns(2)
        palette = first.selectbox("Palette", [_AS_SHOWN, *NUMBERS], key="export_palette")
        signed = second.selectbox("Signed palette", [_AS_SHOWN, *SIGNED], key="export_signed")
        ends = first.text_input(
            "Colour range",
            key="export_range",
            placeholder="each figure's own",
            help="Both ends, such as 0,0.5, for figures that are compared",
        )
        font = second.selectbox("Font", list(FONTS), key="export_font")
        dpi = first.number_input("PNG, dpi", 72, 1200, 300, 100, key="export_dpi")
        background = second.selectbox("Background", list(BACKGROUNDS), key="export_background")
    return Sheet(
        width=str(width).replace(" ", ""),
        height=height.replace(" ", "") or None,
        font_size=float(font_size),
        font=font,
        palette=None if palette == _AS_SHOWN else palette,
        signed=None if signed == _AS_SHOWN else signed,
        limits=limits(ends) if ends else None,
        letter=letter,
        dpi=int(dpi),
        background=background,
    )


# -- what comes of it ------------------------------------------------------------------------------


def _shown(
    request: "Request", makers: "dict[str, Maker]", chosen: list[str], sheet: Sheet
) -> "Job[Any] | None":
    from .subject import waits

    name = chosen[0]
    if len(chosen) > 1:
        if st.session_state.get("export_shown") not in chosen:
            st.session_state["export_shown"] = name
        name = str(
            st.segmented_control(
                "Shown",
                chosen,
                key="export_shown",
                format_func=lambda name: makers[name].title,
                required=True,
                label_visibility="collapsed",
            )
        )
    key = (name, _key(request), sheet)
    job = in_depth.start(
        "export", key, makers[name].title, lambda job: _built(job, request, makers[name], sheet)
    )
    if not job.wait(0.25):
        waits(job, lambda: in_depth.stop("export"), "export_cancel")
        return job
    if job.stopped:
        if st.button("Make the figure", key="export_again", type="primary"):
            in_depth.retry(job)
            st.rerun()
        return job
    made: Any = job.result  # raises what went wrong
    if made.paper.figure is None:
        st.caption("A table alone: there is nothing to draw.")
    printing.downloads(made, sheet, "export", preview=True)
    st.caption(made.paper.caption.replace("$", "\\$"))
    packing = _packed(request, chosen, sheet)
    _command(request, chosen, sheet)
    return packing


def _built(job: "Job[Made]", request: "Request", maker: "Maker", sheet: Sheet) -> "Made":
    from ...export.making import on_sheet
    from ...export.package import Made

    job.report(0, "Making the figure")
    return Made(maker.name, maker.title, maker.build(on_sheet(request, sheet)))


def _packed(request: "Request", chosen: list[str], sheet: Sheet) -> "Job[bytes] | None":
    """All that is chosen as one file, with tables, captions and provenance."""
    from ...export.render import is_possible
    from .subject import waits

    formats = _FORMATS if is_possible() else ("csv",)
    n = len(chosen)
    label = f"Zip of {n} figures" if n > 1 else "Zip"
    about = "Figure, data, tables, caption, and provenance; the command below makes the same files"
    download = partial(
        st.download_button,
        label,
        file_name="headscope-figures.zip",
        mime=printing.MIMES["zip"],
        key="export_zip",
        on_click="ignore",
        icon=":material/folder_zip:",
        type="primary",
        help=about,
    )
    if n <= _AT_ONCE:
        download(data=partial(_zip, None, request, chosen, sheet, formats))
        return None
    key = (tuple(chosen), _key(request), sheet)
    if st.session_state.get("export_wanted") != key:
        if st.button(label, key="export_make_zip", type="primary", help=about):
            st.session_state["export_wanted"] = key
            st.rerun()
        return None
    job = in_depth.start(
        "export zip", key, label, lambda job: _zip(job, request, chosen, sheet, formats)
    )
    if not job.wait(0.1):
        waits(job, _give_up, "export_cancel_zip")
        return job
    if not job.stopped:
        data: Any = job.result  # raises what went wrong
        download(data=data)
    return job


def _give_up() -> None:
    st.session_state.pop("export_wanted", None)
    in_depth.stop("export zip")


def _zip(
    job: "Job[bytes] | None",
    request: "Request",
    chosen: list[str],
    sheet: Sheet,
    formats: tuple[str, ...],
) -> bytes:
    from ...export.making import make, silent
    from ...export.package import zipped

    progress = silent if job is None else job.report
    found = make(request, chosen, sheet, formats, progress=progress, with_overview=False)
    return zipped(found.files)


def _command(request: "Request", chosen: list[str], sheet: Sheet) -> None:
    """The line that makes the same files."""
    from ...export.provenance import command

    if request.study.path is None:
        st.caption(
            "These numbers are of a picture that was measured here. `headscope analyze` makes a "
            "study of it, and `headscope report` its figures."
        )
        return
    st.caption("The same files, to the byte, in the folder of the study:")
    st.code(command(request, chosen, sheet, _FORMATS), language="bash", wrap_lines=True)


def _key(request: "Request") -> tuple[Any, ...]:
    """All that a figure depends on, beside the sheet."""
    from ...export.provenance import arguments

    study, against = request.study, request.against
    sides = [key_of(each) for each in (study, against) if each is not None]
    return (*arguments(request), *sides, request.checkpoint is not None)
