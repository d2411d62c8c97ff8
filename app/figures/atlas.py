"""The head atlas: every number that a study has for each head."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from .encode import PATCH, mean_over_images, plain


@dataclass(frozen=True)
class HeadMetric:
    """One number for each head of each image."""

    key: str
    """Name of the variable, with the ablation where there are several: `"js_divergence:mean"`."""
    label: str
    unit: str
    description: str
    values: Float[np.ndarray, "image layer head"]
    """NaN where there is no such head, or the image is not done."""
    mass: Float[np.ndarray, "image layer head"] | None = None
    """Share of the attention that the number rests on, where that is less than all."""

    @property
    def mean(self) -> Float[np.ndarray, "layer head"]:
        """Mean over the images that have a value."""
        return mean_over_images(self.values)


def head_metrics(
    variables: Iterable[xr.DataArray], share: xr.DataArray | None = None
) -> tuple[HeadMetric, ...]:
    """Everything that colours an atlas, from what a study has: dims `image layer head`.

    `share` is the attention from each kind of token to each; what is in px rests on patches alone.
    """
    variables = list(variables)
    names = [variable.name for variable in variables]
    found: list[HeadMetric] = []
    for variable in variables:
        name = str(variable.name)
        label = str(variable.attrs.get("long_name", name))
        several = names.count(variable.name) > 1
        mode = str(variable.coords["ablation"].item()) if several else ""
        in_px = variable.attrs.get("units") == "px"
        found.append(
            HeadMetric(
                key=f"{name}:{mode}" if mode else name,
                label=f"{label} ({mode} ablation)" if mode else label,
                unit=str(variable.attrs.get("units", "")),
                description=str(variable.attrs.get("description", "")),
                values=_values(variable),
                mass=None if share is None or not in_px else _patch_mass(share),
            )
        )
    return tuple(found)


def _values(variable: xr.DataArray) -> Float[np.ndarray, "image layer head"]:
    return variable.transpose("image", "layer", "head").values.astype(float)


def _patch_mass(share: xr.DataArray) -> Float[np.ndarray, "image layer head"]:
    return _values(share.sel(query_kind=PATCH, key_kind=PATCH))


def payload(metrics: tuple[HeadMetric, ...], image: int, n_heads: tuple[int, ...]) -> list[Any]:
    """The metrics of one image and their mean over images, as `[layer][head]`."""
    return [
        {
            "key": metric.key,
            "label": metric.label,
            "unit": metric.unit,
            "description": metric.description,
            "image": plain(metric.values[image], n_heads),
            "mean": plain(metric.mean, n_heads),
            "mass": None
            if metric.mass is None
            else {
                "image": plain(metric.mass[image], n_heads),
                "mean": plain(mean_over_images(metric.mass), n_heads),
            },
        }
        for metric in metrics
    ]
