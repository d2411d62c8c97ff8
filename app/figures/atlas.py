"""The head atlas: every number that a study has for each head."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from .encode import PATCH, mean_over_images, plain

TOKEN = "token"
"""Units of a number that names a token: its index."""


@dataclass(frozen=True)
class HeadMetric:
    """One number for each head of each image."""

    key: str
    """Name of the variable, with the ablation where there are several: `"js_divergence:mean"`."""
    label: str
    unit: str
    description: str
    group: str
    """What it compares, in words; metrics are listed by it."""
    signed: bool
    """Whether its sign means something: 0 is then the middle of the colour scale."""
    values: Float[np.ndarray, "image layer head"]
    """NaN where there is no such head, or the image is not done; a number of all images together
    stands as that of one."""
    mass: Float[np.ndarray, "image layer head"] | None = None
    """Share of the attention that the number rests on, where that is less than all."""
    ablation: str = ""
    """By which it was measured, also where the study has no other."""

    @cached_property
    def mean(self) -> Float[np.ndarray, "layer head"]:
        """Mean over the images that have a value."""
        return mean_over_images(self.values)


def head_metrics(
    variables: Iterable[xr.DataArray], share: xr.DataArray | None = None
) -> tuple[HeadMetric, ...]:
    """Everything that colours an atlas, from what a study has: dims `image layer head`.

    `share` is the attention from each kind of token to each; what is in px rests on patches alone.
    Indices of tokens are left out: no colour, mean or order of them says anything.
    """
    variables = [variable for variable in variables if variable.attrs.get("units") != TOKEN]
    names = [variable.name for variable in variables]
    found: list[HeadMetric] = []
    for variable in variables:
        name = str(variable.name)
        label = str(variable.attrs.get("long_name", name))
        several = names.count(variable.name) > 1
        ablation = str(variable.coords["ablation"].item()) if "ablation" in variable.coords else ""
        mode = ablation if several else ""
        in_px = variable.attrs.get("units") == "px"
        description = str(variable.attrs.get("description", ""))
        values = _values(variable)
        found.append(
            HeadMetric(
                key=f"{name}:{mode}" if mode else name,
                label=f"{label} ({mode} ablation)" if mode else label,
                unit=str(variable.attrs.get("units", "")),
                description=description,
                group=_group(variable),
                signed=_signed(variable, values),
                values=values,
                mass=None if share is None or not in_px else _patch_mass(share),
                ablation=ablation,
            )
        )
    return tuple(found)


def by_ablation(
    several: Sequence[Sequence[HeadMetric]],
) -> tuple[dict[str, HeadMetric], ...]:
    """Metrics of several studies by key, so that the same key is the same number: where studies
    have one by other ablations, each has its own in the key."""
    modes: dict[str, set[tuple[str, ...]]] = {}
    for metrics in several:
        own: dict[str, tuple[str, ...]] = {}
        for metric in metrics:
            name = metric.key.partition(":")[0]
            own[name] = (*own.get(name, ()), metric.ablation)
        for name, ablations in own.items():
            modes.setdefault(name, set()).add(tuple(sorted(ablations)))

    def told(metric: HeadMetric) -> HeadMetric:
        name, _, mode = metric.key.partition(":")
        if mode or not metric.ablation or len(modes[name]) == 1:
            return metric
        key, label = f"{name}:{metric.ablation}", f"{metric.label} ({metric.ablation} ablation)"
        return replace(metric, key=key, label=label)

    return tuple({metric.key: metric for metric in map(told, metrics)} for metrics in several)


GROUPS = ("Model's output changes", "Layer's output changes", "Attention")
"""What a number is about, in the order in which a list shows it."""


def _group(variable: xr.DataArray) -> str:
    """Importance is measured by an ablation, of the model's output or of the layer's."""
    if "ablation" not in variable.coords:
        return GROUPS[2]
    if "scope" in variable.attrs:
        return GROUPS[1 if variable.attrs["scope"] == "local" else 0]
    # Studies of format 2 do not say it: local importance is about rows of a layer.
    words = str(variable.attrs.get("long_name", "")).lower().split()
    return GROUPS[1 if {"row", "rows"} & set(words) else 0]


def _signed(variable: xr.DataArray, values: Float[np.ndarray, "image layer head"]) -> bool:
    if "signed" in variable.attrs:
        return bool(variable.attrs["signed"])
    # Format 2: what is never negative does not say what positive means.
    description = str(variable.attrs.get("description", ""))
    return "positive" in description.lower() or bool((values < 0).any())


def _values(variable: xr.DataArray) -> Float[np.ndarray, "image layer head"]:
    if "image" not in variable.dims:  # a number of all images together
        variable = variable.expand_dims("image")
    return variable.transpose("image", "layer", "head").values.astype(float)


def _of_image(
    values: Float[np.ndarray, "image layer head"], image: int
) -> Float[np.ndarray, "layer head"]:
    return values[image if len(values) > 1 else 0]


def _patch_mass(share: xr.DataArray) -> Float[np.ndarray, "image layer head"]:
    if PATCH not in share["query_kind"].values or PATCH not in share["key_kind"].values:
        return np.full(tuple(share.sizes[dim] for dim in ("image", "layer", "head")), np.nan)
    return _values(share.sel(query_kind=PATCH, key_kind=PATCH))


def payload(
    metrics: tuple[HeadMetric, ...],
    image: int,
    n_heads: tuple[int, ...],
    among: Sequence[int] = (),
) -> list[Any]:
    """The metrics of one image and their mean over images, as `[layer][head]`.

    The mean is over the images `among`, all where there is none; a number of all images together
    stays as it is.
    """

    def mean(values: Float[np.ndarray, "image layer head"]) -> list[Any]:
        some = values[list(among)] if len(among) and len(values) > 1 else values
        return plain(mean_over_images(some), n_heads)

    ordered = sorted(metrics, key=lambda metric: GROUPS.index(metric.group))
    return [
        {
            "key": metric.key,
            "label": metric.label,
            "unit": metric.unit,
            "description": metric.description,
            "group": metric.group,
            "signed": metric.signed,
            "image": plain(_of_image(metric.values, image), n_heads),
            "mean": mean(metric.values),
            "mass": None
            if metric.mass is None
            else {
                "image": plain(_of_image(metric.mass, image), n_heads),
                "mean": mean(metric.mass),
            },
        }
        for metric in ordered
    ]
