"""Which methods are true to the model over many pictures: a table with intervals."""

import html
from typing import Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...jobs import Job
from ...measuring import pictures as sizes
from ...measuring import trust
from ...measuring.pictures import Pictures
from . import subject as shared
from .bench_work import Bench, asked, doing, outcome, waits
from .subject import Subject


def pictures_of(subject: Subject) -> Pictures | None:
    """The study's images, or what the checkpoint can be measured on."""
    if subject.photograph is None:
        return None if subject.study is None else sizes.of_study(subject.study)
    return None if subject.checkpoint is None else sizes.many(subject.checkpoint)


def choose(pictures: Pictures | None) -> bool:
    """Whether many pictures are asked for."""
    if pictures is None or pictures.n < 2:
        return False
    return (
        st.segmented_control(
            "Measured on",
            ["one", "many"],
            format_func={"one": "This picture", "many": pictures.words.capitalize()}.__getitem__,
            key="bench_images",
            default="one",
            required=True,
            persist_state="session",
        )
        == "many"
    )


def show(bench: Bench, pictures: Pictures, fill: str) -> "Job[Any] | None":
    """The table of the methods that are shown; the job that is under way."""
    names = tuple(bench.methods)
    against = bench.decision.against if isinstance(bench.decision.against, str) else None
    options = tuple(bench.key(name) for name in names)
    key = (bench.checkpoint.identity, pictures.key, against, fill, *options)
    n = trust.images_for(bench.checkpoint, pictures)
    words = (
        f"Maps of {len(names)} method{'s' * (len(names) != 1)} and 2 baselines on {n} "
        f"{pictures.words}, and the curves of each."
    )
    if not asked("table", key, words, at_once=False):
        return None
    job = in_depth.start(
        "table",
        key,
        f"Table over {n} {pictures.words}",
        lambda job: trust.many(
            job,
            bench.checkpoint,
            pictures,
            names,
            bench.options,
            against=against,
            fill=fill,
        ),
    )
    if not job.wait(0.2):
        waits("table", key, job.done_share, f"{job.title}: {doing(job, 'covering')}", "table")
    else:
        outcome("table", job, lambda found: _draw(bench, pictures, found, against))
    return job


def _draw(bench: Bench, pictures: Pictures, found: trust.Many, against: str | None) -> None:
    table = found.table
    st.html(_table(table))
    of = f"of {pictures.n:,} " if found.n_images < pictures.n else ""
    told = ", told from the runner-up" if against else ""
    if isinstance(bench.decision.against, int):
        told = "; the class to tell it from is this picture's alone and left out here"
    st.caption(
        f"Mean over {found.n_images} {of}{pictures.words} with 95 % bootstrap intervals; each "
        f"image's own prediction is explained{told}. Read: the target's {table.quantity}. Bold: "
        "the best of the methods. All methods saw the same images, so intervals that overlap may "
        f"still hide a sure difference. {_above_centre(table)}"
    )
    if table.notes:
        st.caption(" ".join(table.notes))
    shared.offer(table.rows(), f"faithfulness of {found.n_images} {bench.subject.name}")


def _above_centre(table: Any) -> str:
    """Which methods are surely better than the centre map, image by image."""
    paired = table.against("centre")
    sure = [
        table.long_names[name]
        for i, name in enumerate(table.methods)
        if name not in table.baselines and paired.low[i, 0] > 0
    ]
    if not sure:
        return "None is surely above the centre baseline by insertion − deletion."
    return (
        f"By insertion − deletion, surely above the centre baseline (interval of the differences, "
        f"image by image): {', '.join(sure)}."
    )


def _table(table: Any) -> str:
    """As HTML: mean and the two ends of the interval."""
    interval = table.interval()
    mean, low, high = interval.mean, interval.low, interval.high
    arrow = {"higher": "↑", "lower": "↓"}
    head = "".join(f"<th>{s.long_name} {arrow[s.better]}</th>" for s in table.scores)
    rivals = [i for i, name in enumerate(table.methods) if name not in table.baselines]
    sign = np.array([1 if score.better == "higher" else -1 for score in table.scores])
    signed = np.where(np.isfinite(mean), mean * sign, -np.inf)
    best = signed[rivals].argmax(0)
    lines = []
    for i in np.argsort(-signed[:, 0], kind="stable"):
        name = table.methods[i]
        is_baseline = name in table.baselines
        shown = trust.BASELINES.get(name) if is_baseline else table.long_names[name]
        cells = [html.escape(str(shown))]
        for j in range(len(table.scores)):
            text = _with_interval(mean[i, j], low[i, j], high[i, j])
            cells.append(f"<b>{text}</b>" if rivals[best[j]] == i else text)
        faint = ' class="hs-baseline"' if is_baseline else ""
        lines.append(f"<tr{faint}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<table class="hs-compare"><tr><th>Method</th>{head}</tr>{"".join(lines)}</table>'


def _with_interval(mean: float, low: float, high: float) -> str:
    if not np.isfinite(mean):
        return "–"
    text = f"{mean:.3f}"
    if np.isfinite(low) and np.isfinite(high):
        text += f" <small>{low:.3f}…{high:.3f}</small>"
    return text.replace("-", "−")
