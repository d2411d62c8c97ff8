"""Learns the patterns of heads: the front door."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..study import Study
from .clustering import METHODS, cluster
from .gathering import maps_of_images, maps_of_study
from .maps import PatternMaps, Progress, join, silent
from .projection import project_pca, project_umap
from .result import Patterns
from .training import MOST_EPOCHS, N_LATENT, SECONDS, train

if TYPE_CHECKING:
    from ..sources import Image

Origin = Study | Checkpoint | PatternMaps


def fit_patterns(
    of: "Origin | Sequence[Origin]",
    images: "Image | Iterable[Image] | None" = None,
    *,
    checkpoint: Checkpoint | None = None,
    form: str = "offset",
    clusters: int | None = None,
    method: str = "kmeans",
    n_latent: int = N_LATENT,
    umap: bool = True,
    seed: int = 0,
    epochs: int = MOST_EPOCHS,
    seconds: float = SECONDS,
    progress: Progress = silent,
) -> Patterns:
    """Learn the patterns of all heads over images.

    Each head's map of each image is brought into a form that does not depend on the grid, an
    autoencoder learns the maps, its latent space is grouped, and groups are named by what their
    members do. Several studies or checkpoints share one space.

    Args:
        of: a study, a checkpoint (on `images`), maps that were collected, or several of these.
        images: for checkpoints.
        checkpoint: that of the study, where it is loaded already.
        form: `"offset"`: relative offsets and the attention that places receive; `"raw"`: which
            region of the image attends to which.
        clusters: how many, for k-means; None: the silhouette chooses.
        method: `"kmeans"` or `"hdbscan"`.
        n_latent: numbers that a map becomes.
        umap: whether to lay the maps out by UMAP too, which takes most of the rest of the time.
        seed: of all that is drawn: held-out images, weights, batches, starts.
        epochs: rounds over the maps that training takes at most.
        seconds: most that training takes: a safety. Only where it ends a training do the results
            depend on the machine's speed, and a warning says so (`Training.caution`).
        progress: told what is under way and the share of it that is done.

    Raises:
        HeadscopeError: too few images or maps, no such form or method, or a study's checkpoint is
            not there.
    """
    if method not in METHODS:
        raise HeadscopeError(
            f"There is no clustering method {method!r}; there are: {', '.join(METHODS)}."
        )
    if method == "hdbscan" and clusters is not None:
        raise HeadscopeError(
            f"HDBSCAN finds the number of clusters itself; leave out the {clusters}, or use kmeans."
        )
    several = list(of) if isinstance(of, Sequence) else [of]
    if not several:
        raise HeadscopeError("There is nothing to learn from; give a study or a checkpoint.")
    if checkpoint is not None and not (len(several) == 1 and isinstance(several[0], Study)):
        raise HeadscopeError("checkpoint is for one study; give checkpoints themselves otherwise.")
    pictures = None if images is None else _held(images)

    def gather(each: Origin) -> PatternMaps:
        if isinstance(each, PatternMaps):
            return each
        if isinstance(each, Study):
            return maps_of_study(each, checkpoint, form=form, progress=progress)
        if pictures is None:
            raise HeadscopeError(f"{each.name} needs images to look at; give some.")
        return maps_of_images(each, pictures, form=form, progress=progress)

    maps = join([gather(each) for each in several])
    network, training = train(
        maps,
        n_latent=n_latent,
        seed=seed,
        epochs=epochs,
        seconds=seconds,
        progress=progress,
    )
    latents = network.latents(maps.values)
    clustering = cluster(latents, method=method, k=clusters, seed=seed, progress=progress)
    progress("Projecting", 0)
    projections = {"pca": project_pca(latents)}
    if umap:
        projections["umap"] = project_umap(latents, seed=seed)
    progress("Projecting", 1)
    return Patterns(maps, network, training, latents, clustering, projections)


def _held(images: "Image | Iterable[Image]") -> "list[Image]":
    """An iterator would be empty for the second checkpoint."""
    from ...models.images import one_or_many

    return list(one_or_many(images))
