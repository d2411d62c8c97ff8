"""Groups maps that are alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ...models.errors import HeadscopeError
from .maps import Progress, silent

METHODS = ("kmeans", "hdbscan")
CHOICES = range(2, 13)
"""Numbers of clusters among which the silhouette chooses."""
SAMPLE = 2000
"""Maps that a silhouette is computed from: its time grows with the square of them."""
STARTS = 8
"""Random starts of k-means, of which the best is kept."""
SMALLEST = 0.01
"""Share of the maps that HDBSCAN takes for a cluster at least."""
FARTHEST = 0.99
"""Share of a cluster's maps that lie within its limit; what is farther out is an outlier."""
CLOSE = 0.01
"""Silhouettes that are no farther apart are equal: twice the standard error of a mean over
`SAMPLE` maps, of which each varies by about 0.2."""
NONE = -1
"""The label of a map that belongs to no cluster (HDBSCAN's noise)."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """Maps in clusters, the largest first."""

    method: str
    seed: int
    labels: Int[np.ndarray, " map"]
    """`NONE` where HDBSCAN assigns none."""
    centres: Float[np.ndarray, "cluster latent"]
    limits: Float[np.ndarray, " cluster"]
    """Distance from the centre within which 99 % of the cluster's maps are."""
    choices: Int[np.ndarray, " choice"]
    """Numbers of clusters that were tried; empty where the number was given."""
    silhouettes: Float[np.ndarray, " choice"]
    """Mean silhouette of each (Rousseeuw 1987), −1 to 1; see `choose`."""
    silhouette: float
    """Of this clustering; NaN where there is one cluster only."""

    @property
    def n(self) -> int:
        """Number of clusters."""
        return len(self.centres)

    def distances(
        self, latents: Float[np.ndarray, "map latent"]
    ) -> Float[np.ndarray, "map cluster"]:
        """Of points to the centres."""
        offset = latents[:, None].astype(np.float64) - self.centres[None]
        return np.sqrt(np.square(offset).sum(-1))

    def assign(
        self, latents: Float[np.ndarray, "map latent"]
    ) -> tuple[Int[np.ndarray, " map"], Float[np.ndarray, " map"], Bool[np.ndarray, " map"]]:
        """Nearest centre of each point, the distance to it, and whether that is beyond its limit.

        Where limits are 0 (a cluster of equal maps) rounding alone makes no outlier.
        """
        distances = self.distances(latents)
        nearest = distances.argmin(1)
        distance = distances[np.arange(len(nearest)), nearest]
        scale = np.abs(self.centres).max(initial=0.0)
        return nearest, distance, distance > self.limits[nearest] + 1e-3 * scale


def cluster(
    latents: Float[np.ndarray, "map latent"],
    *,
    method: str = "kmeans",
    k: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Clustering:
    """Clusters of points.

    Args:
        latents: the points.
        method: `"kmeans"`, or `"hdbscan"` (Campello et al. 2013), which finds the number of
            clusters itself and leaves out what is in none.
        k: number of clusters for k-means; None: that of `CHOICES` which the silhouette `choose`s.
        seed: of the random starts.
        progress: told the share that is done.

    Raises:
        HeadscopeError: no such method, k does not fit, or HDBSCAN finds no cluster.
    """
    if method not in METHODS:
        raise HeadscopeError(
            f"There is no clustering method {method!r}; there are: {', '.join(METHODS)}."
        )
    if method == "hdbscan":
        if k is not None:
            raise HeadscopeError(
                f"HDBSCAN finds the number of clusters itself; leave out the {k}, or use kmeans."
            )
        return _finish(method, seed, latents, _hdbscan(latents), [], [])
    n_different = len(np.unique(latents.round(5), axis=0))
    if k is not None:
        if not 2 <= k <= n_different:
            raise HeadscopeError(
                f"{k} clusters cannot be made of {n_different} different maps; choose from 2 to "
                f"{n_different}."
            )
        return _finish(method, seed, latents, _kmeans(latents, k, seed), [], [])
    choices = [k for k in CHOICES if k < n_different]
    if not choices:
        raise HeadscopeError(
            f"All maps are alike ({n_different} different); there is nothing to group."
        )
    labels, silhouettes = [], []
    for index, choice in enumerate(choices):
        progress("Grouping", index / len(choices))
        labels.append(_kmeans(latents, choice, seed))
        silhouettes.append(silhouette(latents, labels[-1]))
    progress("Grouping", 1)
    best = choose(silhouettes)
    return _finish(method, seed, latents, labels[best], choices, silhouettes)


def choose(silhouettes: Sequence[float]) -> int:
    """Which of the choices to take: the fewest clusters within `CLOSE` of the best silhouette."""
    return int(np.argmax(np.array(silhouettes) >= np.nanmax(silhouettes) - CLOSE))


def silhouette(latents: Float[np.ndarray, "map latent"], labels: Int[np.ndarray, " map"]) -> float:
    """Mean silhouette of at most `SAMPLE` points, always the same ones; NaN for one cluster."""
    from sklearn.metrics import silhouette_score

    rows = np.flatnonzero(labels != NONE)
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    if not 1 < len(np.unique(labels[rows])) < len(rows):
        return float("nan")
    return float(silhouette_score(latents[rows], labels[rows]))


def _kmeans(latents: np.ndarray, k: int, seed: int) -> Int[np.ndarray, " map"]:
    from sklearn.cluster import KMeans

    means = KMeans(k, n_init=STARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
    return means.fit_predict(latents.astype(np.float64)).astype(np.int64)


def _hdbscan(latents: np.ndarray) -> Int[np.ndarray, " map"]:
    from sklearn.cluster import HDBSCAN

    smallest = max(5, round(SMALLEST * len(latents)))
    options: dict[str, Any] = {"min_cluster_size": smallest, "min_samples": 5, "copy": True}
    found = HDBSCAN(**options)
    labels = found.fit_predict(latents.astype(np.float64)).astype(np.int64)
    if not (labels != NONE).any():
        raise HeadscopeError(
            f"HDBSCAN finds no cluster of at least {smallest} maps; use kmeans, or more images."
        )
    return labels


def _finish(
    method: str,
    seed: int,
    latents: np.ndarray,
    labels: np.ndarray,
    choices: list[int],
    silhouettes: list[float],
) -> Clustering:
    """Number the clusters by size, so that the same clusters have the same numbers."""
    found = np.unique(labels[labels != NONE])
    points = latents.astype(np.float64)
    centres = np.stack([points[labels == label].mean(0) for label in found])
    sizes = np.array([(labels == label).sum() for label in found])
    order = np.lexsort((centres[:, 0], -sizes))
    renumbered = np.full(len(labels), NONE)
    for new, old in enumerate(found[order]):
        renumbered[labels == old] = new
    centres = centres[order]
    own = np.sqrt(np.square(points - centres[np.maximum(renumbered, 0)]).sum(1))
    limits = np.array([np.quantile(own[renumbered == new], FARTHEST) for new in range(len(found))])
    return Clustering(
        method=method,
        seed=seed,
        labels=renumbered,
        centres=centres,
        limits=limits,
        choices=np.array(choices, np.int64),
        silhouettes=np.array(silhouettes, np.float64),
        silhouette=silhouette(latents, renumbered),
    )
