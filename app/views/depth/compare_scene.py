"""What the part "Compare" shows: two checkpoints on the images that both have seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ... import selection, services
from ...figures.atlas import HeadMetric, by_ablation, head_metrics
from ...figures.encode import mean_over_images
from ...jobs import Job
from ...measuring import comparing
from ..source import source_of
from . import asking
from .subject import Subject

if TYPE_CHECKING:
    from .... import Checkpoint, Study
    from ....analysis.matching import HeadMatching

CRITERIA = {"strength": "Strength", "pattern": "Pattern", "output": "Output"}
_METRIC, _BY = "compare_metric", "compare_by"


@dataclass(frozen=True, eq=False)
class Scene:
    """Two studies, A that of the page, and B."""

    subject: Subject
    a: "Study"
    b: "Study"
    names: tuple[str, str]
    """Of the checkpoints; of the studies, where the checkpoints are called the same."""
    images: np.ndarray
    """`study image`: where the images that both have stand in each."""

    @property
    def n(self) -> int:
        return self.images.shape[1]

    @property
    def on(self) -> str:
        """As in "on the 60 images that both have"."""
        return "on this picture" if self.n == 1 else f"over the {self.n:,} shared images"

    @cached_property
    def metrics(self) -> tuple[dict[str, HeadMetric], dict[str, HeadMetric]]:
        """Of A and of B by key."""
        a, b = by_ablation([head_metrics(study.head_metrics()) for study in (self.a, self.b)])
        return a, b

    def values(self, side: int, key: str) -> np.ndarray | None:
        """`image layer head` on the shared images; one image where it is of all images together,
        None where the study lacks it."""
        metric = self.metrics[side].get(key)
        if metric is None:
            return None
        of_images = len(metric.values) == (self.a, self.b)[side].n_images
        return metric.values[self.images[side]] if of_images else metric.values

    def mean(self, side: int, key: str) -> np.ndarray | None:
        """`layer head`, mean over the shared images."""
        values = self.values(side, key)
        return None if values is None else mean_over_images(values)

    def heads(self, side: int) -> list[tuple[int, int]]:
        counts = (self.a, self.b)[side].data["n_heads"].values.tolist()
        return [(layer, head) for layer, n in enumerate(counts) for head in range(n)]

    @property
    def chosen(self) -> tuple[int, int] | None:
        now = selection.current()
        return None if now.layer is None or now.head is None else (now.layer, now.head)


def metric_of(scene: Scene, key: str = _METRIC, label: str = "Metric") -> HeadMetric | None:
    """The chosen number, with its select box; those of one study only come last."""
    first, second = scene.metrics
    either = {**second, **first}
    order = sorted(either, key=lambda name: not (name in first and name in second))
    order = [name for name in order if np.isfinite(either[name].values).any()]
    if not order:
        st.caption("Neither study has a number for each head.")
        return None
    if st.session_state.get(key) not in order:
        now = selection.current().metric
        st.session_state[key] = now if now in order else order[0]

    def words(name: str) -> str:
        only = "" if name in first and name in second else f" · {'AB'[name in second]} only"
        return either[name].label + only

    chosen = st.selectbox(
        label,
        order,
        key=key,
        format_func=words,
        help=either[st.session_state[key]].description,
    )
    return either[chosen]


def criteria() -> tuple[str, ...]:
    """What heads are matched by, with the control."""
    if _BY not in st.session_state:
        st.session_state[_BY] = list(CRITERIA)
    chosen = st.segmented_control(
        "Matched by",
        list(CRITERIA),
        format_func=CRITERIA.__getitem__,
        selection_mode="multi",
        key=_BY,
        persist_state="session",
        help="Strength: how far, how widely and in which direction a head looks, image by image. "
        "Pattern: what its maps look like in a space that the maps of both are put into. Output: "
        "linear CKA of what it puts out. The score is the mean of those that can be told.",
    )
    return tuple(name for name in CRITERIA if name in chosen)


def matching_of(
    scene: Scene, by: Sequence[str]
) -> "tuple[Job[HeadMatching] | None, HeadMatching | None]":
    """Which head of A is which of B: the job, and what it found."""
    if not by:
        st.caption("Choose at least one thing that heads are matched by.")
        return None, None
    loads = (load_of(scene.a, scene.subject.checkpoint), load_of(scene.b, None))
    key = ("matching", identity(scene.a), identity(scene.b), tuple(by))
    job = asking.asked(
        "compare matching",
        key,
        "Matching heads",
        lambda job: comparing.matched(job, (scene.a, scene.b), loads, by),
        "Match the heads",
    )
    found = asking.result(job)
    if found is not None:
        found = replace(found, first=scene.names[0], second=scene.names[1])
    return job, found


def identity(study: "Study") -> tuple[object, ...]:
    """Changes when a study is another one, or has more images or patterns."""
    from ....analysis.patterns.storage import which_patterns

    try:
        patterns = which_patterns(study)
    except OSError:  # it was moved away
        patterns = None
    digests = tuple(study.data["image_digest"].values.tolist())
    return study.model_digest, str(study.path), hash(digests), study.n_done, patterns


def load_of(study: "Study", checkpoint: "Checkpoint | None") -> comparing.Load:
    """Loads the checkpoint of a study, if it is not there already."""
    if checkpoint is not None:
        return lambda: checkpoint
    source = source_of(study)
    return lambda: services.load_source(source)
