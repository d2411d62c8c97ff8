"""What a figure for a paper is, what it is made of, and the register of all."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from ....models.errors import HeadscopeError
from ....models.registry import Registry
from ..atlas import GROUPS, HeadMetric, head_metrics
from ..template import head_words

if TYPE_CHECKING:
    from .... import Checkpoint, Study
    from ....analysis.importance.ranking import Ranking

Head = tuple[int, int]
Need = Literal["checkpoint", "against"]
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class PaperFigure:
    """A figure, exactly what is drawn in it as rows, and what it shows in words."""

    figure: go.Figure | None
    """None: a table alone."""
    rows: Sequence[Mapping[str, Any]]
    caption: str
    """With n, the interval and the settings."""
    keep_height: bool = False
    """Whether the height in pixels is made for the rows of the chart."""


@dataclass(frozen=True, eq=False)
class Request:
    """What figures are made of, and what is chosen."""

    study: "Study"
    against: "Study | None" = None
    """A second study of the same images."""
    checkpoint: "Checkpoint | None" = None
    """The study's own; None where it is not there."""
    metric: str | None = None
    """Key of a number per head; None: the first that the study has."""
    other: str | None = None
    """Key of the number that it is set against; None: the first of attention."""
    head: Head | None = None
    """None: the first by the metric."""
    image: str | None = None
    """Name of an image of the study; None: the first."""
    scope: Literal["mean", "image"] = "mean"
    query: str | None = None
    """`"class"`, `"mean"`, or pixels as `"48,32"` (row, column); None: the class token where
    there is one, else the mean."""
    method: str = "grad-cam"
    """Of the explanation."""
    marked: tuple[Head, ...] = ()
    page_px: int = 468
    """Width of the sheet in heights of the text / 13, for figures that arrange themselves."""
    numbers_colours: Sequence[str] | None = None
    """Scale of maps over pictures, which are coloured here; None: the usual one."""
    signed_colours: Sequence[str] | None = None
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What several figures need is computed once."""

    @cached_property
    def metrics(self) -> dict[str, HeadMetric]:
        """Numbers of heads by key, importance first; those that are nowhere are left out."""
        return metrics_of(self.study)

    @cached_property
    def chosen_metric(self) -> HeadMetric:
        return _named("metric", self.metric, self.metrics)

    @cached_property
    def other_metric(self) -> HeadMetric:
        """Of attention, as importance is set against what a head does."""
        if self.other is not None:
            return _named("metric", self.other, self.metrics)
        found = [m for m in self.metrics.values() if m.group == GROUPS[-1]]
        first = [m for m in found if m.key == "distance"] or found
        return (first or [self.chosen_metric])[0]

    @cached_property
    def image_index(self) -> int:
        names = [str(name) for name in self.study.data["image"].values]
        if self.image is None:
            return int(np.flatnonzero(self.study.data["done"].values)[0])
        if self.image not in names:
            raise HeadscopeError(
                f"There is no image {self.image!r} in the study; there are {_some(names)}."
            )
        index = names.index(self.image)
        if not self.study.data["done"].values[index]:
            raise HeadscopeError(
                f"The image {self.image!r} of the study is not done; choose another, or run "
                "headscope analyze again."
            )
        return index

    @property
    def image_name(self) -> str:
        return str(self.study.data["image"].values[self.image_index])

    @cached_property
    def chosen_head(self) -> Head:
        """The head of head figures."""
        n_heads = self.n_heads
        if self.head is not None:
            layer, head = self.head
            if layer >= len(n_heads) or head >= n_heads[layer]:
                counts = sorted(set(n_heads))
                many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
                raise HeadscopeError(
                    f"There is no head {layer}.{head} in {self.study.model}: it has layers 0 to "
                    f"{len(n_heads) - 1} with {many} heads each, such as 0.0."
                )
            return self.head
        mean = self.chosen_metric.mean
        layer, head = np.unravel_index(int(np.nanargmax(mean)), mean.shape)
        return int(layer), int(head)

    @property
    def n_heads(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.study.data["n_heads"].values)

    def ranking(self) -> "Ranking":
        """Heads by the chosen metric, with intervals."""
        key = ("ranking", self.chosen_metric.key)
        if key not in self.kept:
            self.kept[key] = ranking_of(self.study, self.chosen_metric)
        return self.kept[key]

    @property
    def words(self) -> str:
        """Checkpoint, images and settings, as a caption ends."""
        settings = self.study.settings
        n = self.study.n_done
        return (
            f"{self.study.model} (weights SHA-256 {self.study.model_digest[:12]}), "
            f"n = {n:,} image{'s' * (n != 1)}, seed {settings.get('seed', 0)}."
        )

    @property
    def words_of_image(self) -> str:
        """The same for a figure of one image."""
        return (
            f"Image {self.image_name} (n = 1). {self.study.model} (weights SHA-256 "
            f"{self.study.model_digest[:12]}), seed {self.study.settings.get('seed', 0)}."
        )


@dataclass(frozen=True, eq=False)
class Maker:
    """One sort of figure: what it is called, what it needs, how it is made."""

    name: str
    title: str
    build: Callable[[Request], PaperFigure]
    """Raises a HeadscopeError where the study has not what it takes."""
    needs: tuple[Need, ...] = ()
    uses: tuple[str, ...] = ()
    """Which choices it is about: `metric`, `other`, `head`, `image`, `query`, `scope`, `method`."""

    def why_not(self, request: Request) -> str:
        """What is missing, in a sentence; empty where nothing is."""
        if "against" in self.needs and request.against is None:
            return "It sets two studies side by side; name the other one (--against Y.zarr)."
        if "checkpoint" in self.needs and request.checkpoint is None:
            return f"It runs the network, and {request.study.model} is not loaded."
        return ""


_REGISTRY: Registry[Maker] = Registry("figures for a paper", folder=__package__)


def maker(
    title: str, *, needs: tuple[Need, ...] = (), uses: tuple[str, ...] = ()
) -> Callable[[Callable[[Request], PaperFigure]], Callable[[Request], PaperFigure]]:
    """Register a function as the maker of the figure that its file is called after."""

    def add(build: Callable[[Request], PaperFigure]) -> Callable[[Request], PaperFigure]:
        file = sys.modules[build.__module__].__name__.rpartition(".")[2]
        name = file.replace("_", "-")
        _REGISTRY.add(name, Maker(name, title, build, needs, uses), file=file)
        return build

    return add


def makers() -> Mapping[str, Maker]:
    """All figures, by name."""
    return _REGISTRY.all


def metrics_of(study: "Study") -> dict[str, HeadMetric]:
    """Numbers of a study's heads by key."""
    found = head_metrics(study.head_metrics(), study.data.get("share"))
    return {metric.key: metric for metric in found if np.isfinite(metric.values).any()}


def ranking_of(study: "Study", metric: HeadMetric) -> "Ranking":
    """Heads by a number, with intervals over the images that are done."""
    from ....analysis.importance.ranking import ranking

    scores = metric.values
    done = study.data["done"].values.astype(bool)
    if len(scores) == len(done):
        scores = scores[done]
    return ranking(scores, label=metric.label, units=metric.unit)


def intervals(found: "Ranking") -> dict[Head, tuple[float, float, float, int]]:
    """Mean, both ends and the number of images of each head."""
    return {
        head: (float(mean), float(low), float(high), n)
        for head, mean, low, high, n in zip(
            found.heads, found.mean, found.low, found.high, found.n_images, strict=True
        )
    }


def interval_words(found: "Ranking") -> str:
    """What the bars are, or why there are none."""
    return f"Intervals: {found.interval}." if found.interval else f"No intervals. {found.reason}"


def unit_words(metric: HeadMetric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def of_scope(metric: HeadMetric, request: Request) -> tuple[Float[np.ndarray, "layer head"], str]:
    """The numbers of the scope, and what they are in words."""
    if request.scope == "image" and len(metric.values) > 1:
        return metric.values[request.image_index], f"image {request.image_name}"
    return metric.mean, "mean over images"


def head_title(head: Head) -> str:
    return head_words(head)


def _named(what: str, key: str | None, there: Mapping[str, HeadMetric]) -> HeadMetric:
    if not there:
        raise HeadscopeError("The study has no number of any head; analyse it with metrics.")
    if key is None:
        return next(iter(there.values()))
    if key not in there:
        alike = [name for name in there if name.partition(":")[0] == key]
        if alike:  # the ablation was left out: the study's first
            return there[alike[0]]
        raise HeadscopeError(
            f"There is no {what} {key!r} in the study; there are {', '.join(there)}."
        )
    return there[key]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
