"""Checkpoints in a row: what becomes of each head, as a film, as lines and as counts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ...figures import compare_series as figures
from ...figures.atlas import TOKEN, HeadMetric, by_ablation, head_metrics
from ...figures.template import head_name
from ...jobs import Job
from ...measuring import comparing
from . import asking
from . import subject as shared
from .compare_scene import criteria, identity, load_of
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.series import Series

_X, _Y, _ALWAYS = "compare_series_x", "compare_series_y", "compare_always"
_FIRST = ("distance", "entropy")


def show(subject: Subject, others: Sequence[comparing.Other]) -> "Job[Any] | None":
    """The page's study first, then the others in their order."""
    from .... import HeadscopeError

    studies: list[Any] = [subject.study, *(other.study for other in others)]
    own = subject.study.path if subject.study is not None else None
    first = subject.name if own is None or subject.photograph is not None else own.name
    names = [_short(name) for name in (first, *(other.name for other in others))]
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    with right:
        by = criteria()
    if not by:
        st.caption("Choose at least one thing that heads are matched by.")
        return None
    loads = [
        load_of(study, subject.checkpoint if place == 0 else None)
        for place, study in enumerate(studies)
    ]
    job = asking.asked(
        "compare series",
        ("series", tuple(map(identity, studies)), tuple(names), by),
        "Following heads",
        lambda job: comparing.in_a_row(job, studies, names, loads, by),
        "Follow the heads",
    )
    found: Series | None = asking.result(job)
    if found is None:
        return job
    always = st.toggle(
        "Follow the best assignment, whatever the score",
        key=_ALWAYS,
        persist_state="session",
        help="Off: a head is followed only where its score is above the null, heads assigned to "
        "other heads of their own checkpoint; early in training few are. On: every head is "
        "followed to the head that it is assigned to.",
    )
    if always:
        found = found.with_threshold(0.0)
    metrics = _metrics(studies)
    with left:
        x = _choice("Across", metrics, _X, 0)
    with middle:
        y = _choice("Up", metrics, _Y, 1)
    try:
        _draw(subject, found, x, y)
    except HeadscopeError as error:
        st.error(str(error))
    return job


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".zarr").removesuffix(".safetensors")


def _metrics(studies: Sequence[Any]) -> dict[str, HeadMetric]:
    """What at least two studies have, by key."""
    several = by_ablation([head_metrics(study.head_metrics()) for study in studies])
    every = {key: metric for each in several for key, metric in each.items()}
    counts = {key: sum(key in each for each in several) for key in every}
    return {key: every[key] for key in every if counts[key] > 1 and every[key].unit != TOKEN}


def _choice(label: str, metrics: dict[str, HeadMetric], key: str, place: int) -> HeadMetric:
    if st.session_state.get(key) not in metrics:
        wanted = _FIRST[place]
        st.session_state[key] = wanted if wanted in metrics else list(metrics)[place]
    chosen = st.selectbox(
        label,
        list(metrics),
        key=key,
        format_func=lambda name: metrics[name].label,
        help=metrics[st.session_state[key]].description,
    )
    return metrics[chosen]


def _draw(subject: Subject, found: "Series", x: HeadMetric, y: HeadMetric) -> None:
    across, up = (_trajectory(found, metric) for metric in (x, y))
    film = figures.Film(
        names=found.names,
        tracks=found.tracks,
        x=across,
        y=up,
        x_title=_title(x),
        y_title=_title(y),
        n_layers=max(study.data.sizes["layer"] for study in found.studies),
    )
    chosen = _chosen(subject, found)
    dark = shared.is_dark()
    words = (
        f"{x.label} and {y.label.lower()} of all heads at {len(found.names)} steps, to be played"
    )
    shared.draw_heads(figures.film(film, chosen=chosen, dark=dark), words, "compare film")
    n = found.n_images
    of_head = ""
    if chosen is not None:
        path = [
            f"{name} {head_name(tuple(at)) if at[0] >= 0 else '–'}"
            for name, at in zip(found.names, found.tracks[chosen].tolist(), strict=True)
        ]
        of_head = f" The ring is the chosen head, with its trail: {' → '.join(path)}."
    st.caption(
        f"Each dot is a head, mean over the {n:,} image{'s' * (n != 1)} that all "
        f"{len(found.names)} checkpoints have seen; it ends where nothing matches it, and new ones "
        f"begin.{of_head} Click a dot to choose the head it was in {found.names[0]}."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        shared.draw_heads(
            figures.lines(film, up, _title(y), chosen=chosen, dark=dark),
            f"{y.label} of all heads over the steps",
            "compare trajectories",
        )
    with right:
        rows = found.changes()
        counts = np.array(
            [[row["matched"] - row["moved"] for row in rows]]
            + [[row[fate] for row in rows] for fate in figures.FATES[1:]]
        )
        shared.draw(
            figures.fates([f"→ {row['to']}" for row in rows], counts, dark=dark),
            "Heads that stayed, moved, died and appeared at each step",
            "compare fates",
        )
    st.caption(_sentence(found))
    shared.offer(_rows(found, x, y, across, up), f"series {subject.name}")


def _trajectory(found: "Series", metric: HeadMetric) -> np.ndarray:
    name, _, _ = metric.key.partition(":")
    return found.trajectory(name, ablation=metric.ablation or None)


def _title(metric: HeadMetric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _chosen(subject: Subject, found: "Series") -> int | None:
    assert subject.study is not None
    head = shared.chosen_head(subject.study)
    at = np.flatnonzero((found.tracks[:, 0] == head).all(1))
    return int(at[0]) if len(at) else None


def _sentence(found: "Series") -> str:
    left_out = {
        f"{name}, as {reason}" for each in found.matchings for name, reason in each.left_out.items()
    }
    more = f" Left out: {'; '.join(sorted(left_out))}." if left_out else ""
    limits = ", ".join(f"{each.threshold:.2f}" for each in found.matchings)
    told = f"Heads match from a score of {limits}, each by its null."
    if not any(each.threshold for each in found.matchings):
        scores = [float(p.score) for each in found.matchings for p in each.pairs]
        told = (
            "Every head is followed to the one that it is assigned to, with scores from "
            f"{min(scores):.2f} to {max(scores):.2f}."
        )
    return f"{found.describe()} {told}{more}"


def _rows(
    found: "Series", x: HeadMetric, y: HeadMetric, across: np.ndarray, up: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            "track": track,
            "step": found.names[step],
            "layer": int(at[0]),
            "head": int(at[1]),
            x.key: float(across[track, step]),
            y.key: float(up[track, step]),
        }
        for track, steps in enumerate(found.tracks.tolist())
        for step, at in enumerate(steps)
        if at[0] >= 0
    ]
