"""Which images a checkpoint treats alike: each image as the numbers of all heads, in the plane.

Nothing is run: the numbers are those that a study keeps of every head for every image.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from ..models.errors import HeadscopeError

if TYPE_CHECKING:
    import xarray as xr

    from .study import Study

Numbers = Literal["attention", "importance"]
Method = Literal["pca", "umap"]

LEAST_IMAGES = 3
"""Fewer lie on a line whatever they show."""
LEAST_UMAP = 10
COMPONENTS = 50
"""Principal components that UMAP starts from: distances in more directions are mostly noise."""
EXACT = 1_000
"""Up to this many images or numbers the eigenvectors are computed all at once."""
_TOKEN = "token"
"""Unit of an index, which no mean or distance can be taken of."""


@dataclass(frozen=True, eq=False)
class ImageVectors:
    """Each image as a vector of its heads' numbers, which are comparable with each other."""

    values: Float[np.ndarray, "image number"]
    """(x − mean) / standard deviation over images, of each number of each head; 0 where it is
    missing."""
    rows: Int[np.ndarray, " image"]
    """Index of each image in the study: those that are done."""
    kinds: tuple[str, ...]
    """Names of the numbers that each head has."""
    n_heads: int


@dataclass(frozen=True, eq=False)
class ImageLayout:
    """Images in the plane: those near each other have alike numbers."""

    method: Method
    points: Float[np.ndarray, "image 2"]
    """In the order of the study's images; NaN for those that are not done."""
    explained: float
    """Share of the variance that the plane shows; NaN for UMAP."""
    trustworthiness: float
    """How many neighbours in the plane are neighbours by their numbers: 0.5 by chance, 1 all;
    NaN for PCA, which does not aim at it."""


def image_vectors(study: "Study", of: Numbers = "attention") -> ImageVectors:
    """Each done image of a study as a vector of its heads' numbers.

    `of` is "attention" (where heads look: distance, entropy, …) or "importance" (what changes
    without each head). Each number of each head is standardised over images, so that px and nats
    weigh the same. Numbers that do not vary, or that most images lack, are left out.

    Raises:
        HeadscopeError: there are fewer than 3 done images, or no such numbers.
    """
    rows = np.flatnonzero(study.data["done"].values)
    if len(rows) < LEAST_IMAGES:
        raise HeadscopeError(
            f"{len(rows)} image(s) cannot be laid out by similarity; it takes {LEAST_IMAGES}."
        )
    n_heads = study.data["n_heads"].values
    there = np.arange(study.data.sizes["head"]) < n_heads[:, None]  # layer, head
    found = [each for each in _numbers(study.head_metrics()) if _is_of(each, of)]
    columns: list[np.ndarray] = []
    for variable in found:
        values = variable.transpose("image", "layer", "head").values[rows][:, there]
        columns.append(_standardised(values))
    kinds = dict.fromkeys(str(variable.name) for variable in found)
    if not columns or not sum(each.shape[1] for each in columns):
        raise HeadscopeError(
            f"This study has no numbers of {of} that differ between images; choose others."
        )
    values = np.concatenate(columns, axis=1)
    return ImageVectors(values, rows, tuple(kinds), int(n_heads.sum()))


def _numbers(variables: Iterable["xr.DataArray"]) -> Iterable["xr.DataArray"]:
    return (
        each for each in variables if "image" in each.dims and each.attrs.get("units") != _TOKEN
    )


def _is_of(variable: "xr.DataArray", of: Numbers) -> bool:
    return ("ablation" in variable.coords) == (of == "importance")


def _standardised(values: Float[np.ndarray, "image number"]) -> Float[np.ndarray, "image number"]:
    """Columns of mean 0 and variance 1 over the images that have them, in float32."""
    wide = values.astype(np.float64)
    valid = np.isfinite(wide)
    count = valid.sum(0)
    mean = np.where(valid, wide, 0).sum(0) / np.maximum(count, 1)
    centred = np.where(valid, wide - mean, 0)
    spread = np.sqrt((centred**2).sum(0) / np.maximum(count, 1))
    largest = np.where(valid, np.abs(wide), 0).max(0)
    # Numbers are stored as float32: what varies less than they can say does not vary.
    varies = spread > 1e-6 * np.maximum(largest, np.finfo(np.float32).tiny)
    kept = varies & (2 * count >= len(values))
    return (centred[:, kept] / spread[kept]).astype(np.float32)


def lay_out(
    vectors: ImageVectors, n_images: int, method: Method = "pca", *, seed: int = 0
) -> ImageLayout:
    """Images of a study in the plane; `n_images` are all of the study.

    "pca": the two directions in which the vectors differ most, the same on any machine. "umap":
    neighbours stay neighbours, distances between groups mean little (McInnes et al. 2018), of the
    50 first principal components; another machine may give another picture.

    Raises:
        HeadscopeError: there are too few images for UMAP.
    """
    if method == "umap" and len(vectors.rows) < LEAST_UMAP:
        raise HeadscopeError(
            f"{len(vectors.rows)} images are too few for UMAP, which takes {LEAST_UMAP}; PCA lays "
            "them out."
        )
    points = np.full((n_images, 2), np.nan)
    scores, shares = principal_components(vectors.values, 2 if method == "pca" else COMPONENTS)
    placed, explained, trust = scores[:, :2], float(shares[:2].sum()), float("nan")
    if method == "umap":
        from .patterns.projection import project_umap, trustworthiness_of  # imports scikit-learn

        placed, explained = project_umap(scores, seed=seed).points, float("nan")
        trust = trustworthiness_of(vectors.values, placed)
    points[vectors.rows, : placed.shape[1]] = placed
    points[vectors.rows, placed.shape[1] :] = 0
    return ImageLayout(method, points, explained, trust)


def principal_components(
    values: Float[np.ndarray, "image number"], count: int
) -> tuple[Float[np.ndarray, "image component"], Float[np.ndarray, " component"]]:
    """Places along the directions in which vectors differ most, and the share of variance of each.

    At most `count` of them, fewer where there are fewer images. The sign of each is such that the
    image furthest from the middle lies on the positive side.
    """
    centred = values - values.mean(0)
    n = max(1, min(count, min(centred.shape) - (centred.shape[0] <= centred.shape[1])))
    if min(centred.shape) <= EXACT:
        scores = _by_gram(centred.astype(np.float64), n)
    else:
        from scipy.sparse.linalg import svds

        # Krylov iteration, converged; a fixed start gives the same on each run.
        start = np.random.default_rng(0).normal(size=min(centred.shape)).astype(centred.dtype)
        left, sizes, _ = svds(centred, n, v0=start)
        scores = (left * sizes)[:, ::-1].astype(np.float64)
    furthest = np.abs(scores).argmax(0)
    scores = scores * np.where(scores[furthest, np.arange(scores.shape[1])] < 0, -1, 1)
    total = float((centred.astype(np.float64) ** 2).sum())
    return scores, (scores**2).sum(0) / max(total, np.finfo(np.float64).tiny)


def _by_gram(
    centred: Float[np.ndarray, "image number"], count: int
) -> Float[np.ndarray, "image component"]:
    """Eigenvectors of the smaller of XXᵀ and XᵀX."""
    if centred.shape[0] <= centred.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        return vectors[:, ::-1][:, :count] * np.sqrt(np.maximum(values[::-1][:count], 0))
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :count]
