"""The patterns of a set of maps: clusters with names, and what is asked of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from .autoencoder import Autoencoder
from .clustering import NONE, Clustering, cluster
from .forms import VALUES
from .gathering import maps_of_images
from .maps import PatternMaps, Progress, shares, silent
from .naming import numbered, propose, summary
from .projection import Projection
from .training import Training

if TYPE_CHECKING:
    from ..sources import Image
    from ..study import Study
    from .stability import Stability


@dataclass(frozen=True, eq=False)
class Cluster:
    """A pattern."""

    index: int
    name: str
    """Proposed from `statistics` by `naming.RULES`; numbered where several have the same."""
    share: float
    """Of all maps."""
    n_maps: int
    prototype: Float[np.ndarray, "channel row column"]
    """The centre, decoded: shares of attention in the cells of the form."""
    prototype_values: dict[str, float]
    """`forms.VALUES` of it."""
    medoid: int
    """The member nearest to the centre: a map that is there."""
    statistics: dict[str, float]
    """`statistics.STATISTICS`, mean over the members, and `fixed`."""
    heads: tuple[tuple[int, int, int, float], ...]
    """Origin, layer, head, and the share of its maps that are here, the largest first."""
    images: tuple[tuple[int, int, int], ...]
    """Origin, image, and how many maps of it are here, the most first."""


@dataclass(frozen=True, eq=False)
class HeadPatterns:
    """Which patterns each head has, and how stable they are over images."""

    heads: Int[np.ndarray, "head 3"]
    """Origin, layer, head."""
    shares: Float[np.ndarray, "head cluster"]
    """Of the head's images, the share in each cluster; the rest, to 1, is in none."""
    modal: Int[np.ndarray, " head"]
    """The cluster of most of its images; -1 where most are in none."""
    stability: Float[np.ndarray, " head"]
    """Share of the images in that cluster: 1 where the head does the same in every image."""
    entropy: Float[np.ndarray, " head"]
    """−Σ p ln p of the shares (what is in no cluster counts as one): nats, 0 for one pattern."""


@dataclass(frozen=True, eq=False)
class Projected:
    """New maps among patterns that were learned without them."""

    maps: PatternMaps
    latents: Float[np.ndarray, "map latent"]
    labels: Int[np.ndarray, " map"]
    """The cluster with the nearest centre."""
    distance: Float[np.ndarray, " map"]
    """To that centre."""
    outlier: Bool[np.ndarray, " map"]
    """Farther from it than 99 % of the cluster's own maps: a pattern that was not learned."""
    error: Float[np.ndarray, " map"]
    """Squared distance of the map from its reconstruction, as in `Training`."""
    points: dict[str, Float[np.ndarray, "map 2"]]
    """In the plane of each projection."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """What the heads' maps look like, learned from a set of maps."""

    maps: PatternMaps
    autoencoder: Autoencoder
    training: Training
    latents: Float[np.ndarray, "map latent"]
    clustering: Clustering
    projections: dict[str, Projection]
    """By method; `"pca"` is always there."""
    stability: "Stability | None" = None
    """Of the clusters over seeds, where it was measured."""

    @property
    def names(self) -> list[str]:
        """Of the clusters."""
        return [each.name for each in self.clusters]

    @cached_property
    def clusters(self) -> tuple[Cluster, ...]:
        """The patterns, the most frequent first."""
        labels, n = self.clustering.labels, self.clustering.n
        told = [summary(self.maps, labels == index) for index in range(n)]
        names = numbered([propose(statistics) for statistics in told])
        decoded = self.autoencoder.maps(self.clustering.centres)
        prototypes = shares(self.maps.form, decoded)
        distances = self.clustering.distances(self.latents)
        shares_of_heads = self.heads.shares
        found = []
        for index in range(n):
            members = np.flatnonzero(labels == index)
            values = np.square(np.maximum(decoded[index, -len(VALUES) :], 0)).tolist()
            order = np.argsort(-shares_of_heads[:, index], kind="stable")
            images, counts = np.unique(
                np.stack([self.maps.origin[members], self.maps.image[members]], -1),
                axis=0,
                return_counts=True,
            )
            by_count = np.argsort(-counts, kind="stable")
            found.append(
                Cluster(
                    index=index,
                    name=names[index],
                    share=len(members) / len(labels),
                    n_maps=len(members),
                    prototype=prototypes[index],
                    prototype_values=dict(zip(VALUES, values, strict=True)),
                    medoid=int(members[distances[members, index].argmin()]),
                    statistics=told[index],
                    heads=tuple(
                        (*self.heads.heads[head].tolist(), float(shares_of_heads[head, index]))
                        for head in order
                        if shares_of_heads[head, index] > 0
                    ),
                    images=tuple((*images[i].tolist(), int(counts[i])) for i in by_count),
                )
            )
        return tuple(found)

    @cached_property
    def heads(self) -> HeadPatterns:
        """Which patterns each head has."""
        return head_patterns(self.maps, self.clustering.labels, self.clustering.n)

    def members(self, index: int) -> Int[np.ndarray, " map"]:
        """The maps of a cluster, the nearest to its centre first."""
        if not 0 <= index < self.clustering.n:
            raise HeadscopeError(
                f"There is no pattern {index}; they are 0 to {self.clustering.n - 1}."
            )
        rows = np.flatnonzero(self.clustering.labels == index)
        distance = self.clustering.distances(self.latents[rows])[:, index]
        return rows[np.argsort(distance, kind="stable")]

    def map(self, row: int) -> Float[np.ndarray, "channel row column"]:
        """One of the maps, as shares."""
        return shares(self.maps.form, self.maps.values[row])

    def reconstruction(self, row: int) -> Float[np.ndarray, "channel row column"]:
        """The same through the autoencoder."""
        return shares(self.maps.form, self.autoencoder.maps(self.latents[row : row + 1]))[0]

    def project(
        self,
        checkpoint: Checkpoint,
        images: "Image | Iterable[Image]",
        *,
        progress: Progress = silent,
    ) -> Projected:
        """The patterns of other heads, images or checkpoints, without fitting anew."""
        return self.project_maps(
            maps_of_images(checkpoint, images, form=self.maps.form, progress=progress)
        )

    def project_maps(self, maps: PatternMaps) -> Projected:
        """The same for maps that were collected already.

        Raises:
            HeadscopeError: they are in another form.
        """
        if maps.form != self.maps.form:
            raise HeadscopeError(
                f"These patterns are of maps in the {self.maps.form} form, and the new maps are in "
                f"the {maps.form} form; collect them in the {self.maps.form} form."
            )
        latents = self.autoencoder.latents(maps.values)
        labels, distance, outlier = self.clustering.assign(latents)
        rest = self.autoencoder.maps(latents) - maps.values.astype(np.float32)
        points = {
            name: projection.place(latents, self.latents)
            for name, projection in self.projections.items()
        }
        error = np.square(rest).sum(1)
        return Projected(maps, latents, labels, distance, outlier, error, points)

    def regroup(
        self,
        clusters: int | None = None,
        *,
        method: str = "kmeans",
        seed: int | None = None,
        progress: Progress = silent,
    ) -> "Patterns":
        """The same maps and latent space in other clusters; quick."""
        seed = self.clustering.seed if seed is None else seed
        other = cluster(self.latents, method=method, k=clusters, seed=seed, progress=progress)
        return replace(self, clustering=other, stability=None)

    def save(self, study: "Study") -> None:
        """Keep them inside a study, in the place of those that it has.

        Raises:
            HeadscopeError: it cannot be written.
        """
        from .storage import save_patterns

        save_patterns(self, study)

    def __str__(self) -> str:
        return f"{len(self.names)} patterns of {len(self.maps)} maps: {', '.join(self.names)}"


def head_patterns(maps: PatternMaps, labels: Int[np.ndarray, " map"], n: int) -> HeadPatterns:
    """Shares of clusters by head."""
    heads, index = np.unique(
        np.stack([maps.origin, maps.layer, maps.head], -1), axis=0, return_inverse=True
    )
    counts = np.zeros((len(heads), n + 1))  # last: in no cluster
    np.add.at(counts, (index, np.where(labels == NONE, n, labels)), 1)
    found = counts / counts.sum(1, keepdims=True)
    logs = np.log(np.where(found > 0, found, 1))
    modal = found.argmax(1)
    return HeadPatterns(
        heads=heads,
        shares=found[:, :n],
        modal=np.where(modal == n, NONE, modal),
        stability=found.max(1),
        entropy=np.abs((found * logs).sum(1)),
    )
