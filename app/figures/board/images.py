"""All images of a study, laid out by similarity."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, UInt8
from PIL import Image

from ..why import KINDS

SIDE = 44
"""Pixels of a thumbnail's side: twice what the page shows at most on a plain screen."""
PICTURES = 2_000
"""Images up to which thumbnails are sent: 12 MB."""


def payload(
    data: xr.Dataset, labels: Sequence[str], points: Float[np.ndarray, "image 2"]
) -> dict[str, Any]:
    """Where each image is, and what is known of it.

    Classes are indices into `labels`, below 0 where there is none; what no image has is None.
    """
    top = data["top_class"].values[:, 0] if "top_class" in data else None
    label = data["label"].values if "label" in data else None
    if label is not None and (label < 0).all():
        label = None
    return {
        "names": [str(name) for name in data["image"].values],
        "labels": list(labels),
        "points": points,
        "kinds": list(KINDS),
        "label": _classes(label),
        "prediction": _classes(top),
        "numbers": _numbers(data),
    }


def _classes(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else values.astype(np.int32)


def _numbers(data: xr.Dataset) -> list[dict[str, Any]]:
    """Numbers that each image has, whatever the head."""
    found: list[dict[str, Any]] = []
    if "top_probability" in data:
        first = data["top_probability"]
        found.append(
            {
                "key": "top_probability",
                "label": "Probability of the prediction",
                "unit": "probability",
                "signed": False,
                "values": first.values[:, 0].astype(float),
            }
        )
    for name, variable in data.data_vars.items():
        if variable.dims != ("image",) or variable.dtype.kind != "f":
            continue
        attributes = variable.attrs
        found.append(
            {
                "key": str(name),
                "label": str(attributes.get("long_name", name)),
                "unit": str(attributes.get("units", "")),
                "signed": bool(attributes.get("signed", False)),
                "values": variable.values.astype(float),
            }
        )
    return found


def of_heads(
    values: Float[np.ndarray, "image layer head"], n_heads: Sequence[int]
) -> Float[np.ndarray, "image head"]:
    """One number of all heads that there are, layer after layer."""
    return np.concatenate([values[:, layer, :n] for layer, n in enumerate(n_heads)], axis=1)


def sprite(
    n: int, pixels: Callable[[int], UInt8[np.ndarray, "row column 3"]]
) -> UInt8[np.ndarray, "image row column 3"]:
    """Small square pictures, each cut from the middle; `pixels` reads one."""
    made = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for index in range(n):
        picture = pixels(index)
        height, width = picture.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = Image.fromarray(picture[top : top + short, left : left + short])
        made[index] = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX))
    return made


def words(
    *, method: str, explained: float, trustworthiness: float, kinds: int, n_heads: int, of: str
) -> str:
    """One sentence on how images are laid out."""
    what = {"attention": "where heads look", "importance": "what changes without each head"}[of]
    basis = (
        f"by {what}: {kinds} number{'s' * (kinds != 1)} of each of {n_heads} heads, standardised"
    )
    if method == "pca":
        return f"Images near each other are alike {basis} (PCA, {explained:.0%} of the variance)."
    return (
        f"Images near each other are alike {basis} (UMAP, trustworthiness {trustworthiness:.2f}: "
        "0.5 is chance, 1 perfect; distances between groups mean little)."
    )
