"""Two numbers for each map, to be drawn."""

import threading
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SAMPLE = 2000
"""Points that the trustworthiness is computed from: its time grows with the square of them."""
NEIGHBOURS = 15
"""Of UMAP, and of the trustworthiness."""
MOST = 20_000
"""Points that UMAP lays out; further ones are placed among them."""
AMONG = 5
"""Fitted points among which a new one is placed."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Points in the plane."""

    method: str
    """`"pca"`: linear, the same on any machine; `"umap"`: neighbours stay neighbours, distances
    between groups mean little, and another machine may give another picture: so it is stored."""
    points: Float[np.ndarray, "map 2"]
    trustworthiness: float
    """How many of a point's neighbours in the plane are neighbours in the latent space: 0.5 by
    chance, 1 all (Venna and Kaski 2001; 15 neighbours, of at most 2,000 points)."""
    explained: float
    """Share of the latent variance that PCA shows; NaN for UMAP."""
    centre: Float[np.ndarray, " latent"]
    axes: Float[np.ndarray, "2 latent"]
    """Of PCA; all 0 for UMAP."""

    def place(
        self,
        latents: Float[np.ndarray, "new latent"],
        fitted: Float[np.ndarray, "map latent"],
    ) -> Float[np.ndarray, "new 2"]:
        """New points in the same plane; with UMAP each lies among the fitted points nearest to it,
        the nearer the more, for its model itself is not stored.
        """
        if self.method == "pca":
            return (latents - self.centre) @ self.axes.T
        return _among(latents, fitted, self.points)


def project_pca(latents: Float[np.ndarray, "map latent"]) -> Projection:
    """The two directions in which the points differ most."""
    points = latents.astype(np.float64)
    centre = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov((points - centre).T).reshape(points.shape[1], -1))
    axes = np.zeros((2, points.shape[1]))
    found = vectors[:, ::-1][:, :2].T
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(1)])
    axes[: len(found)] = found * signs[:, None]
    placed = (points - centre) @ axes.T
    return Projection(
        method="pca",
        points=placed,
        trustworthiness=trustworthiness_of(points, placed),
        explained=float(values[-2:].sum() / max(values.sum(), 1e-12)),
        centre=centre,
        axes=axes,
    )


_ONE_UMAP = threading.Lock()
"""Numba ends the process where two threads are in its parallel code, as it is often installed."""


def project_umap(latents: Float[np.ndarray, "map latent"], *, seed: int = 0) -> Projection:
    """UMAP (McInnes et al. 2018), begun at the plane of PCA, in one thread."""
    with warnings.catch_warnings():  # it says that TensorFlow is not there, which is not used
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP

    points = latents.astype(np.float64)
    begin = project_pca(latents).points
    rows = np.arange(len(points))
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
    # Equal points would stay on top of each other: the start is spread by as little as UMAP's own.
    start = 10 * begin[rows] / max(np.abs(begin).max(), 1e-12)
    start += np.random.default_rng(seed).normal(0, 1e-4, start.shape)
    model = UMAP(
        n_neighbors=min(NEIGHBOURS, len(rows) - 1),
        init=start.astype(np.float32),
        random_state=seed,
        n_jobs=1,
    )
    with _ONE_UMAP:
        laid = np.asarray(model.fit_transform(points[rows]), np.float64)
    placed = np.empty((len(points), 2))
    placed[rows] = laid
    rest = np.setdiff1d(np.arange(len(points)), rows)
    if len(rest):
        placed[rest] = _among(points[rest], points[rows], laid)
    return Projection(
        method="umap",
        points=placed,
        trustworthiness=trustworthiness_of(points, placed),
        explained=float("nan"),
        centre=np.zeros(points.shape[1]),
        axes=np.zeros((2, points.shape[1])),
    )


def _among(
    latents: np.ndarray, fitted: np.ndarray, points: Float[np.ndarray, "map 2"]
) -> Float[np.ndarray, "new 2"]:
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=min(AMONG, len(fitted))).fit(fitted)
    distance, index = nearest.kneighbors(latents)
    weight = 1 / np.maximum(distance, 1e-9)
    weight /= weight.sum(1, keepdims=True)
    return (points[index] * weight[..., None]).sum(1)


def trustworthiness_of(latents: np.ndarray, points: np.ndarray) -> float:
    """How many neighbours in the plane are neighbours before, too: 0.5 by chance, 1 all."""
    from sklearn.manifold import trustworthiness

    rows = np.arange(len(latents))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    n_neighbors = min(NEIGHBOURS, (len(rows) - 1) // 2)
    return float(trustworthiness(latents[rows], points[rows], n_neighbors=n_neighbors))
