"""One head's maps over images of a study, one for each decile of a number."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

if TYPE_CHECKING:  # they import torch
    from ....analysis.maps import LayerMaps
    from ....analysis.multiples import Place

MOST_TOKENS = 200
"""Up to so many queries and keys the whole map travels, 40 kB an image; else the asked row."""
LONGEST = 192
"""Pixels of a picture's longer side: it is drawn at about half of that, on a sharp screen."""


def picture(pixels: UInt8[np.ndarray, "row column 3"]) -> str:
    """The whole picture, small, as a data URL."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def payload(
    places: Sequence["Place"],
    names: Sequence[str],
    pictures: Sequence[str],
    maps: Sequence["LayerMaps"],
    token: int | None,
) -> dict[str, Any]:
    """The maps of one head for the images at `places`, and what each image stands for.

    `token` is the query whose row is wanted where the whole maps are too many; None: the mean.
    """
    return {
        "items": [
            {
                "image": name,
                "picture": shown,
                "part": place.part,
                "n_parts": place.n_parts,
                "value": place.value,
            }
            for place, name, shown in zip(places, names, pictures, strict=True)
        ],
        "mean": np.stack([of.mean[0] for of in maps]),
        **_weights(maps, token),
    }


def is_small(maps: "LayerMaps") -> bool:
    """Whether the whole map of a head travels."""
    layout = maps.layout
    return max(layout.queries.n_tokens, layout.keys.n_tokens) <= MOST_TOKENS


def _weights(maps: Sequence["LayerMaps"], token: int | None) -> dict[str, Any]:
    """Weights in 1/255 of the largest of each row, `image query key`; or one row of each image."""
    if all(is_small(of) for of in maps):
        whole = [_whole(of) for of in maps]
        weights, scale = (np.stack(each) for each in zip(*whole, strict=True))
        return {"weights": weights, "scale": scale, "row": None}
    if token is None or token >= maps[0].layout.queries.n_tokens:
        return {"weights": None, "scale": None, "row": None}
    rows = np.stack([of.row(token)[0] for of in maps])
    return {"weights": None, "scale": None, "row": {"token": token, "values": rows}}


def _whole(maps: "LayerMaps") -> tuple[np.ndarray, np.ndarray]:
    if maps.layout.is_dense:
        return maps.weights[0, 0], maps.row_max[0, 0]
    dense = maps.dense(maps.heads[0])
    largest = dense.max(-1)
    scaled = dense / np.maximum(largest, np.finfo(np.float32).tiny)[:, None] * 255
    return scaled.round().astype(np.uint8), largest
