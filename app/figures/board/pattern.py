"""The panel "Pattern": maps as dots of the latent space, groups with their prototypes and heads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from .. import prototypes
from ..patterns import GREY, NONE_NAME, colour_of, sample, symbol_of

if TYPE_CHECKING:
    from ....analysis.patterns import HeadPatterns, Patterns, Projected
    from ....analysis.patterns.projection import Projection

MOST_DOTS = 50_000
"""Drawn at most; of more a part is drawn, by chance."""
SIDE = 40
"""Of a thumbnail, in pixels."""
PLANES = {
    "pca": ("PCA", ("principal component 1", "principal component 2")),
    "umap": ("UMAP", ("UMAP 1", "UMAP 2")),
}
"""What a plane and its axes are called."""


def payload(
    patterns: "Patterns",
    rows: Int[np.ndarray, " map"],
    heads: "HeadPatterns",
    places: Mapping[str, int],
    *,
    own: "Projected | None" = None,
    own_words: str = "",
    shown: str = "",
    most: int = MOST_DOTS,
) -> dict[str, Any]:
    """What the browser draws of patterns.

    Args:
        patterns: in their groups.
        rows: the maps of this checkpoint.
        heads: of this checkpoint alone.
        places: index of each image in the opened study, by name.
        own: maps that the patterns were not learned from.
        own_words: what these are of.
        shown: name of the image whose maps are drawn in any case.
        most: dots to draw.
    """
    maps = patterns.maps
    names, image = _images(patterns, rows)
    always = np.array([name == shown for name in names], bool)[image]
    at = sample(len(rows), always, most)
    drawn = rows[at]
    counts = np.bincount(image, minlength=len(names))
    return {
        "layer": maps.layer[drawn],
        "head": maps.head[drawn],
        "image": image[at],
        "label": patterns.clustering.labels[drawn],
        "images": names,
        "places": [places.get(name, -1) for name in names],
        "n_images": int((counts > 0).sum()),
        "n_maps": len(rows),
        "planes": [_plane(each, drawn, own, patterns) for each in patterns.projections.values()],
        "clusters": _clusters(patterns, rows, heads),
        "none": {
            "name": NONE_NAME,
            "colour": GREY,
            "share": float((patterns.clustering.labels[rows] < 0).mean()) if len(rows) else 0.0,
        },
        "form": _form(patterns),
        "heads": {
            "layer": heads.heads[:, 1],
            "head": heads.heads[:, 2],
            "shares": heads.shares,
            "modal": heads.modal,
            "stability": heads.stability,
            "entropy": heads.entropy,
        },
        "own": None if own is None or not len(own.maps) else _own(own, own_words, places),
    }


def _images(
    patterns: "Patterns", rows: Int[np.ndarray, " map"]
) -> tuple[list[str], Int[np.ndarray, " map"]]:
    """Names of the images of all origins, one origin after the other, and which each map is of."""
    origins = patterns.maps.origins
    firsts = np.cumsum([0, *(len(origin.images) for origin in origins)])
    names = [name for origin in origins for name in origin.images]
    return names, firsts[patterns.maps.origin[rows]] + patterns.maps.image[rows]


def _plane(
    plane: "Projection",
    drawn: Int[np.ndarray, " dot"],
    own: "Projected | None",
    patterns: "Patterns",
) -> dict[str, Any]:
    title, axes = PLANES.get(plane.method, (plane.method, (plane.method, plane.method)))
    words = (
        f"This plane has {plane.explained:.0%} of the latent variance."
        if np.isfinite(plane.explained)
        else "Neighbours stay neighbours; distances between groups mean little."
    )
    return {
        "key": plane.method,
        "title": title,
        "axes": axes,
        "points": plane.points[drawn],
        "about": f"{words} Trustworthiness {plane.trustworthiness:.2f}: 0.5 is chance, 1 keeps all "
        "neighbours.",
        "own": None if own is None else plane.place(own.latents, patterns.latents),
    }


def _clusters(
    patterns: "Patterns", rows: Int[np.ndarray, " map"], heads: "HeadPatterns"
) -> list[dict[str, Any]]:
    labels = patterns.clustering.labels[rows]
    return [
        {
            "name": each.name,
            "share": float((labels == each.index).mean()) if len(rows) else 0.0,
            "n_maps": int((labels == each.index).sum()),
            "colour": colour_of(each.index),
            "symbol": symbol_of(each.index),
            "members": heads.heads[heads.modal == each.index, 1:].tolist(),
            "prototype": each.prototype,
        }
        for each in patterns.clusters
    ]


def _form(patterns: "Patterns") -> dict[str, Any]:
    """What the prototypes' channels are, and the end of the scale that all share."""
    form = patterns.maps.form
    clusters = patterns.clusters
    ends = prototypes.tops([each.prototype for each in clusters]) if clusters else []
    return {
        "name": form,
        "channels": [
            {"title": axes.title, "x": axes.x, "y": axes.y, "end": end, "centred": centred}
            for axes, end, centred in zip(
                prototypes.FORM_AXES[form], ends, (form == "offset", False), strict=False
            )
        ],
    }


def _own(own: "Projected", words: str, places: Mapping[str, int]) -> dict[str, Any]:
    images = own.maps.origins[0].images
    return {
        "words": words,
        "layer": own.maps.layer,
        "head": own.maps.head,
        "label": own.labels,
        "outlier": own.outlier.astype(np.uint8),
        "image": own.maps.image,
        "images": list(images),
        "places": [places.get(name, -1) for name in images],
    }


def thumbnails(
    pictures: UInt8[np.ndarray, "image row column 3"],
) -> UInt8[np.ndarray, "image row column 3"]:
    """Whole pictures, their longer side `SIDE` pixels."""
    height, width = pictures.shape[1:3]
    scale = SIDE / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    small = [
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in pictures
    ]
    return np.stack(small) if small else np.zeros((0, size[1], size[0], 3), np.uint8)
