"""Patterns of a checkpoint's heads: learned or opened, grouped, laid out, checked over seeds."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from ..jobs import Job
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint, Study
    from ...analysis.patterns import HeadPatterns, PatternMaps, Patterns, Stability
    from ...analysis.patterns.projection import Projection

MAPS = 3500
"""Maps that patterns are learned from, more or less: heads × images."""
IMAGES = 48
"""Most images, and fewest as far as there are so many."""
FEWEST_IMAGES = 8
READING, LEARNING = 0.25, 0.8
"""Share of the work that is done when the maps are read, and when the training ends."""
AS_LEARNED, AUTO, DENSITY = "as learned", "auto", "hdbscan"
"""How maps are grouped, beside a number of clusters."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images that maps are read of."""

    pictures: Pictures
    names: Sequence[str] | None = None
    """Of all of them; None: numbers will do."""

    def named(self, places: Sequence[int]) -> list[str]:
        names, one = self.names, self.pictures.words.removesuffix("s")
        return [f"{one} {place}" if names is None else names[place] for place in places]


@dataclass(frozen=True, eq=False)
class Learned:
    """Patterns, and where they come from."""

    patterns: "Patterns"
    key: Hashable
    saved: bool
    """Whether they are those that the study has."""
    n_of: int
    """Images that there were to learn from; not known of saved ones (0)."""
    words: str
    """What the images are."""


@dataclass(frozen=True, eq=False)
class Grouped:
    """Patterns in the groups that were asked for, and one checkpoint's part in them."""

    patterns: "Patterns"
    rows: Int[np.ndarray, " map"]
    """The maps of that checkpoint."""
    heads: "HeadPatterns"
    """Of that checkpoint alone."""
    choices: Int[np.ndarray, " choice"]
    """Numbers of clusters of which the silhouette is known."""
    silhouettes: Float[np.ndarray, " choice"]

    @property
    def n_images(self) -> int:
        """Of that checkpoint."""
        maps = self.patterns.maps
        return len(np.unique(np.stack([maps.origin, maps.image])[:, self.rows], axis=1).T)


def images_for(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """Of how many images the maps are learned: fewer where there are many heads."""
    wanted = round(MAPS / max(1, sum(checkpoint.n_heads)))
    return min(pictures.n, IMAGES, max(FEWEST_IMAGES, wanted))


def collected(
    job: "Job[Any]", checkpoint: "Checkpoint", images: Images, n: int, *, form: str = "offset"
) -> "PatternMaps":
    """The maps of all heads for at most `n` of the images."""
    from ...analysis.patterns.maps import collect

    pictures = images.pictures
    places = pictures.spread(n)
    return collect(
        checkpoint,
        lambda wanted: pictures.crops(checkpoint, [places[index] for index in wanted]),
        images.named(places),
        form=form,
        progress=lambda _, share: job.report(
            READING * share, f"Reading the maps of {len(places):,} image{'s' * (len(places) != 1)}"
        ),
    )


def learn(job: "Job[Learned]", checkpoint: "Checkpoint", images: Images, key: Hashable) -> Learned:
    """Patterns of a checkpoint on images, in the plane of principal components only."""
    from ...analysis.patterns import fit_patterns
    from ...analysis.patterns.training import MOST_EPOCHS

    def tell(what: str, share: float) -> None:
        low, high = (READING, LEARNING) if what == "Learning patterns" else (LEARNING, 1.0)
        text = what
        if what == "Learning patterns":
            text = f"Learning: epoch {round(share * MOST_EPOCHS) + 1} of at most {MOST_EPOCHS}"
        job.report(low + share * (high - low), text)

    n = images_for(checkpoint, images.pictures)
    maps = collected(job, checkpoint, images, n)
    patterns = fit_patterns(maps, umap=False, progress=tell)
    pictures = images.pictures
    return Learned(patterns, key, saved=False, n_of=pictures.n, words=pictures.words)


def opened(job: "Job[Learned]", study: "Study", key: Hashable) -> Learned:
    """The patterns that a study has."""
    from ...analysis.patterns import open_patterns

    job.report(0, "Reading the study's patterns")
    return Learned(open_patterns(study), key, saved=True, n_of=0, words="images of the study")


def grouped(job: "Job[Grouped]", learned: Learned, how: str, digest: str) -> Grouped:
    """Patterns in other groups; the latent space stays.

    `how` is one of `AS_LEARNED`, `AUTO`, `DENSITY`, or a number of clusters; `digest` that of the
    checkpoint whose heads are asked about.
    """
    from ...analysis.patterns.result import head_patterns

    patterns = learned.patterns
    found, own = patterns, patterns.clustering

    def tell(_: str, share: float) -> None:
        job.report(share, "Grouping the maps")

    job.report(0, "Grouping the maps")
    if how == DENSITY and own.method != "hdbscan":
        found = patterns.regroup(method="hdbscan", progress=tell)
    elif how == AUTO and not len(own.choices):
        found = patterns.regroup(progress=tell)
    elif how not in (AS_LEARNED, AUTO, DENSITY):
        found = patterns.regroup(int(how), progress=tell)
    curve = next((each for each in (found.clustering, own) if len(each.choices)), own)
    maps = found.maps
    ours = [index for index, origin in enumerate(maps.origins) if origin.digest == digest]
    rows = np.flatnonzero(np.isin(maps.origin, ours))
    part = maps.take(rows)
    part = replace(part, origin=np.zeros(len(rows), np.int64))
    _ = found.clusters  # kept there; it takes a moment, which is not the page's
    heads = head_patterns(part, found.clustering.labels[rows], found.clustering.n)
    return Grouped(found, rows, heads, curve.choices, curve.silhouettes)


def laid_out(job: "Job[Projection]", patterns: "Patterns") -> "Projection":
    """The plane of UMAP, which cannot be stopped once it has begun."""
    from ...analysis.patterns.projection import project_umap

    job.report(0, "Lays the maps out; once begun it goes on to its end")
    return project_umap(patterns.latents, seed=patterns.training.seed)


def stability(job: "Job[Stability]", grouped: Grouped) -> "Stability":
    """How far seeds agree, with everything done anew for each; groups by the same rule."""
    from ...analysis.patterns import measure_stability
    from ...analysis.patterns.stability import SEEDS

    clustering = grouped.patterns.clustering
    chosen = None
    if clustering.method == "kmeans" and not len(clustering.choices):
        chosen = clustering.n
    return measure_stability(
        grouped.patterns.maps,
        method=clustering.method,
        clusters=chosen,
        progress=lambda what, share: job.report(share, f"{what} of {len(SEEDS)} seeds"),
    )


def stability_seconds(patterns: "Patterns") -> float:
    """What `stability` will take, from what one training took."""
    from ...analysis.patterns.stability import SEEDS

    return len(SEEDS) * patterns.training.seconds


def save(job: "Job[bool]", patterns: "Patterns", study: "Study") -> bool:
    """Patterns into their study."""
    job.report(0, "Writing the patterns into the study")
    patterns.save(study)
    return True


def one_crop(crop: np.ndarray, digest: str, words: str) -> Pictures:
    """An image as the model sees it."""
    read: Callable[..., Any] = lambda *_: crop[None]  # noqa: E731
    return Pictures(digest, words, 1, read)
