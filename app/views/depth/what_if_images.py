"""Heads switched off on all images of a study: accuracy, probability, flips."""

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ...figures.template import number
from ...figures.what_if import percent, points
from ...jobs import Job
from ...measuring import pictures
from ...measuring import what_if as measuring
from ...measuring.what_if import Change
from . import asking
from .subject import Subject

if TYPE_CHECKING:
    from .... import Checkpoint, HeadStatistics
    from ....analysis.what_if import Output


def show(
    subject: Subject,
    checkpoint: "Checkpoint",
    change: Change,
    statistics: "HeadStatistics | None",
) -> "Job[Any] | None":
    """On demand, where the page was opened with a study of several images."""
    study = subject.study
    if subject.photograph is not None or study is None:
        return None
    there = pictures.of_study(study)
    if there.n < 2:
        return None
    done = np.flatnonzero(study.data["done"].values)
    target = None
    if "target" in study.data and checkpoint.has_classes:
        target = study.data["target"].values[done].tolist()
    labels = study.data["label"].values[done] if "label" in study.data else None
    st.html(f'<h3 class="hs-depth">On all {there.n} images of the study</h3>')
    job = asking.asked(
        "what if over images",
        (checkpoint.identity, there.key, there.n, change, statistics and statistics.digests),
        "Images with and without the heads",
        lambda job: measuring.over_images(
            job, checkpoint, there, change, statistics=statistics, target=target
        ),
        f"Accuracy and mean probability over {there.n} images",
        at_once=False,
    )
    found: Output | None = asking.result(job)
    if found is not None:
        _table(found, labels)
    return job


def _table(found: "Output", labels: "np.ndarray | None") -> None:
    from ....analysis.importance.intervals import t_interval

    if not found.has_classes:
        cosine = t_interval(found.cosine[:, None])
        st.markdown(
            f"Features with and without the heads: mean cosine **{number(float(cosine.mean[0]))}**"
            f"{_range(cosine, number)}."
        )
        return
    n, flips = len(found.target), len(found.flips)
    both, change = found.probability, t_interval(found.probability.change[:, None])
    rows = [
        (
            "Mean probability of the target",
            percent(float(both.before.mean())),
            percent(float(both.after.mean())),
            points(float(change.mean[0])) + _range(change, points),
        )
    ]
    if labels is not None and (labels >= 0).any():
        known = labels >= 0
        before, after = (
            float((side[known] == labels[known]).mean())
            for side in (found.prediction.before, found.prediction.after)
        )
        rows.insert(
            0, (_of("Accuracy", known), percent(before), percent(after), points(after - before))
        )
    cells = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    st.html(
        '<table class="hs-compare" data-text="what-if-images"><thead><tr><th>Number</th>'
        "<th>Before</th><th>After</th><th>Change (points)</th></tr></thead>"
        f"<tbody>{cells}</tbody></table>"
    )
    said = f"**The prediction flips on {flips} of {n} images.**"
    if labels is None or not (labels >= 0).any():
        said += " The study has no labels, so there is no accuracy."
    st.markdown(said + " Interval: 95 %, Student's t over images.")


def _of(name: str, known: np.ndarray) -> str:
    return name if known.all() else f"{name} ({int(known.sum())} images with a label)"


def _range(interval: Any, write: Any) -> str:
    if not np.isfinite(interval.low[0]):
        return ""
    return f" [{write(float(interval.low[0]))}, {write(float(interval.high[0]))}]"
