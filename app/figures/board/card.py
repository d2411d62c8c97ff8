"""What the head card says of a head beside its map, its profile and its numbers."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ..atlas import TOKEN

if TYPE_CHECKING:  # they import torch
    from ....analysis.importance.intervals import Interval
    from ....analysis.nearest import Nearest
    from ....analysis.patterns import HeadPatterns
    from ....analysis.sinks.label import SinkLabels
    from ....analysis.sinks.report import SinkReport
    from ....models.layout import TokenLayout

NO_PATTERN, NOT_LEARNED = -1, -2
"""In place of a pattern: most of the head's maps are in none; the head's maps were not learned."""


def keyed(variables: Iterable[xr.DataArray]) -> dict[str, xr.DataArray]:
    """The numbers of a study by the keys that the atlas has for them."""
    there = [each for each in variables if each.attrs.get("units") != TOKEN]
    names = [each.name for each in there]
    return {
        f"{each.name}:{each.coords['ablation'].item()}"
        if names.count(each.name) > 1
        else str(each.name): each
        for each in there
    }


def interval(found: "Interval") -> dict[str, Any]:
    """The ends of each head's interval, and how many images it rests on."""
    return {
        "low": found.low,
        "high": found.high,
        "n": found.n_images,
        "confidence": found.confidence,
        "method": {"t": "Student's t", "bca": "BCa bootstrap"}.get(found.method, found.method),
        "reason": found.reason,
    }


def nearest(found: "Nearest", variable: xr.DataArray) -> dict[str, Any]:
    """The most similar heads by one sort of similarity."""
    return {
        "key": str(variable.name),
        "label": str(variable.attrs.get("long_name", variable.name)),
        "unit": str(variable.attrs.get("units", "")),
        "heads": found.heads,
        "values": found.values,
    }


def sinks(labels: "SinkLabels", keys: Sequence["TokenLayout"]) -> dict[str, Any]:
    """What a study's numbers say of the sinks; tokens by name, null where there is no such head."""
    return {
        "token": _names(labels.token, keys),
        "token_share": labels.token_share,
        "score": labels.score,
        "lift": labels.lift,
        "above": labels.above,
    }


def measured_sinks(report: "SinkReport") -> dict[str, Any]:
    """What a look for sinks found: whether a head has one, which, and what it does."""
    data = report.data
    modal = np.nan_to_num(data["modal_token"].values, nan=-1).astype(int)
    return {
        "n_images": report.n_images,
        "token": _names(modal, report.keys),
        "token_share": data["sink_constancy"].values,
        "share": data["sink_share"].values,
        "mechanism": data["mechanism"].values.tolist(),
    }


def _names(tokens: np.ndarray, keys: Sequence["TokenLayout"]) -> list[list[str | None]]:
    labels = [list(layout.labels()) for layout in keys]
    return [
        [labels[layer][token] if token >= 0 else None for token in row]
        for layer, row in enumerate(tokens.tolist())
    ]


def patterns(
    found: "HeadPatterns", names: Sequence[str], origins: Sequence[int], shape: tuple[int, ...]
) -> dict[str, Any]:
    """The most frequent pattern of each head, and its share of the head's images.

    `origins` are those of the study's checkpoint among all that were learned from.
    """
    modal = np.full(shape, NOT_LEARNED)
    share = np.full(shape, np.nan)
    for (origin, layer, head), index, part in zip(
        found.heads.tolist(), found.modal.tolist(), found.stability.tolist(), strict=True
    ):
        if origin in origins and layer < shape[0] and head < shape[1]:
            modal[layer, head], share[layer, head] = index, part
    return {"names": list(names), "modal": modal, "share": share}
