"""What a head set does as one, beside the sum of what its heads do alone."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import selection
from ...figures.template import number
from ...figures.what_if import points
from ...jobs import Job
from ...measuring import head_sets as measuring
from ...measuring import pictures
from ...measuring.pictures import Pictures
from ...measuring.sinks import fitting
from ...measuring.what_if import Change
from . import asking
from .subject import Subject
from .what_if_reference import statistics_for

if TYPE_CHECKING:
    from .... import Checkpoint

_OPEN = "head_set_effect_open"
_WORDS = {
    "joint": "The set as one",
    "sum": "Sum of its heads one by one",
    "beyond": "As one − sum",
}


def button(heads: Sequence[tuple[int, int]]) -> bool:
    """Whether the effect is shown."""
    return st.toggle(
        "Effect",
        key=_OPEN,
        disabled=not heads,
        help="What the set does as one, beside the sum of what its heads do alone",
    )


def show(subject: Subject, heads: tuple[tuple[int, int], ...]) -> "Job[Any] | None":
    """Measured on the study's images, or on those that there are for a checkpoint."""
    checkpoint = subject.checkpoint
    if checkpoint is None:
        st.caption("The checkpoint is not there (yet), so nothing can be switched off.")
        return None
    found = _change(checkpoint, heads)
    if isinstance(found, str):
        st.error(found)
        return None
    statistics, preparing = statistics_for(checkpoint, subject, found.how, "head_set_reference")
    if preparing is not None and statistics is None:
        return preparing
    there, target = _images(subject, checkpoint)
    n = measuring.images_for(checkpoint, there, len(found.heads))
    job = asking.asked(
        "head set effect",
        (
            checkpoint.identity,
            there.key,
            n,
            found,
            subject.target,
            statistics and statistics.digests,
        ),
        "The set as one, and its heads alone",
        lambda job: measuring.effect(
            job, checkpoint, there, found, statistics=statistics, target=target
        ),
        "Measure",
    )
    result: measuring.Effect | None = asking.result(job)
    if result is not None:
        _table(result, found, there)
    return job


def _change(checkpoint: "Checkpoint", heads: tuple[tuple[int, int], ...]) -> Change | str:
    """What is done to the heads, as What if has it; else why it cannot be."""
    from .... import HeadscopeError
    from ....models.ablations import ablation

    how = selection.current().how or "zero"
    try:
        how = "zero" if ablation(how).converse else how
    except HeadscopeError:
        how = "zero"
    kept, left_out = fitting(checkpoint, heads, how)
    if not kept:
        return f"The ablation {how!r} says nothing about these heads. {left_out}"
    return Change(kept, how)


def _images(subject: Subject, checkpoint: "Checkpoint") -> tuple[Pictures, Any]:
    """The images, and the class that each is about."""
    study = subject.study
    if subject.photograph is None and study is not None:
        done = np.flatnonzero(study.data["done"].values)
        target = None
        if "target" in study.data and checkpoint.has_classes:
            target = study.data["target"].values[done].tolist()
        return pictures.of_study(study), target
    return pictures.many(checkpoint), None


def _table(found: measuring.Effect, change: Change, there: Pictures) -> None:
    in_points = found.value.name == "probability"
    write = points if in_points else number
    rows = []
    for name, interval in found.intervals.items():
        if name != "joint" and len(change.heads) == 1:
            continue
        mean, low, high = (float(v[0]) for v in (interval.mean, interval.low, interval.high))
        span = f"[{write(low)}, {write(high)}]" if np.isfinite(low) else "–"
        rows.append(f"<tr><td>{_WORDS[name]}</td><td>{write(mean)}</td><td>{span}</td></tr>")
    unit = "percentage points" if in_points else found.value.units
    what = html.escape(f"{found.value.long_name} lost ({unit})")
    st.html(
        f'<table class="hs-compare" data-text="head-set-effect"><thead><tr><th>{what}</th>'
        f"<th>Mean</th><th>95 % interval</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    n = found.n_images
    of = f"{n:,} {there.words}" if n == there.n else f"{n:,} of {there.n:,} {there.words}"
    st.caption(
        f"With {change.how} ablation, mean over {of}; intervals: Student's t over images. Above 0 "
        "in the last line the heads stand in for each other: together they are missed more than "
        "one by one."
    )
