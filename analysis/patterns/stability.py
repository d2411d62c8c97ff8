"""Whether another seed finds the same patterns."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from .clustering import cluster
from .maps import PatternMaps, Progress, silent
from .training import MOST_EPOCHS, N_LATENT, SECONDS, train

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class Stability:
    """Agreement of clusterings over seeds."""

    what: str
    """What was done anew for each seed: `"all"` (another division of the images, another
    autoencoder, another choice of k, other starts of k-means), or `"grouping"` (k and starts only,
    in one latent space: cheaper, and says less)."""
    seeds: Int[np.ndarray, " seed"]
    n_clusters: Int[np.ndarray, " seed"]
    """The number that each seed found."""
    agreement: Float[np.ndarray, "seed seed"]
    """Adjusted Rand index of each two (Hubert and Arabie 1985): 1 the same groups, 0 chance."""

    @property
    def mean(self) -> float:
        """Of all pairs of seeds."""
        return float(self.agreement[np.triu_indices(len(self.seeds), 1)].mean())

    @property
    def least(self) -> float:
        return float(self.agreement[np.triu_indices(len(self.seeds), 1)].min())


def agreement(labels: Sequence[Int[np.ndarray, " map"]]) -> Float[np.ndarray, "seed seed"]:
    """Adjusted Rand index of each two clusterings of the same maps."""
    from sklearn.metrics import adjusted_rand_score

    result = np.eye(len(labels))
    for a, b in combinations(range(len(labels)), 2):
        result[a, b] = result[b, a] = adjusted_rand_score(labels[a], labels[b])
    return result


def measure_stability(
    maps: PatternMaps,
    *,
    seeds: Sequence[int] = SEEDS,
    latents: Float[np.ndarray, "map latent"] | None = None,
    method: str = "kmeans",
    clusters: int | None = None,
    n_latent: int = N_LATENT,
    epochs: int = MOST_EPOCHS,
    seconds: float = SECONDS,
    progress: Progress = silent,
) -> Stability:
    """Learn and group the maps anew with each seed, and compare.

    Args:
        maps: what is learned from.
        seeds: at least two.
        latents: points of the maps in one latent space: nothing is trained then, and only the
            grouping is done anew.
        method: of clustering.
        clusters: the number, for all seeds; None: each seed chooses.
        n_latent: numbers that a map becomes.
        epochs: most that one training takes.
        seconds: most that one training takes.
        progress: told the share that is done.
    """
    labels = []
    for index, seed in enumerate(seeds):
        progress(f"Seed {seed}", index / len(seeds))
        points = latents
        if points is None:
            network, _ = train(maps, n_latent=n_latent, seed=seed, epochs=epochs, seconds=seconds)
            points = network.latents(maps.values)
        labels.append(cluster(points, method=method, k=clusters, seed=seed).labels)
    return Stability(
        what="all" if latents is None else "grouping",
        seeds=np.array(seeds),
        n_clusters=np.array([len(np.unique(each[each >= 0])) for each in labels]),
        agreement=agreement(labels),
    )
