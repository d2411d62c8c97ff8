"""The head atlas: every number that a study has for each head."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from .encode import mean_over_images, plain

PER_HEAD = frozenset({"layer", "head"})
OPTIONAL = frozenset({"image", "ablation"})


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


def head_metrics(data: xr.Dataset) -> tuple[HeadMetric, ...]:
    """All variables of a study that colour an atlas, found by their dimensions.

    What an ablation changes comes first: it says whether a head matters.
    """
    found: list[HeadMetric] = []
    for name, variable in data.data_vars.items():
        dims = {str(dim) for dim in variable.dims}
        if not PER_HEAD <= dims or not dims <= PER_HEAD | OPTIONAL:
            continue
        if not np.issubdtype(variable.dtype, np.number):
            continue
        label = str(variable.attrs.get("long_name", name)).replace("_", " ")
        label = label[:1].upper() + label[1:]
        of_ablation: dict[str, xr.DataArray] = {"": variable}
        if "ablation" in dims:
            modes = [str(mode) for mode in variable["ablation"].values]
            of_ablation = {
                mode if len(modes) > 1 else "": variable.sel(ablation=mode) for mode in modes
            }
        for mode, values in of_ablation.items():
            if "image" not in dims:
                values = values.expand_dims(image=data.sizes.get("image", 1))
            found.append(
                HeadMetric(
                    key=f"{name}:{mode}" if mode else str(name),
                    label=f"{label} ({mode} ablation)" if mode else label,
                    unit=str(variable.attrs.get("units", "")),
                    description=str(variable.attrs.get("description", "")),
                    values=values.transpose("image", "layer", "head").values.astype(float),
                    mass=_patch_mass(data) if variable.attrs.get("units") == "px" else None,
                )
            )
    return tuple(
        sorted(found, key=lambda m: "ablation" not in data[m.key.partition(":")[0]].dims)
    )


def _patch_mass(data: xr.Dataset) -> Float[np.ndarray, "image layer head"] | None:
    """Attention of patches on patches: a distance in px is the mean over these weights alone."""
    if "share" not in data:
        return None
    share = data["share"].sel(query_kind="patch", key_kind="patch")
    return share.transpose("image", "layer", "head").values.astype(float)


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
