"""A number over the layers of a checkpoint: its mean over heads, with intervals over images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from ..models.errors import HeadscopeError
from .importance.intervals import Interval, bootstrap_interval, t_interval
from .study import ACROSS, Study

Method = Literal["bca", "percentile", "t"]
"""Of the interval of a mean over images, as in `importance.intervals`."""

By = Literal["label", "prediction", "correctness"] | Sequence[Any] | np.ndarray | xr.DataArray

UNKNOWN = -1
"""In a grouping, and None or "": an image that is in no group."""


@dataclass(frozen=True, eq=False)
class Trend:
    """A number over layers, for each group of images; units and sign are those of the metric."""

    metric: str
    long_name: str
    units: str
    groups: tuple[str, ...]
    """`("all",)` where images are not grouped."""
    mean: Float[np.ndarray, "group layer"]
    """Mean over the heads of the layer, then over images; NaN where no image has a value."""
    low: Float[np.ndarray, "group layer"]
    high: Float[np.ndarray, "group layer"]
    """NaN where there is no honest interval."""
    n_images: Int[np.ndarray, "group layer"]
    """Images with a value."""
    confidence: float
    method: str
    reason: str
    """Why some have no interval; empty when all have one."""


def trend(
    study: Study,
    metric: str,
    by: By | None = None,
    *,
    at: Mapping[str, Any] | None = None,
    ablation: str | None = None,
    confidence: float = 0.95,
    method: Method = "bca",
) -> Trend:
    """How a number changes from layer to layer, per group of images.

    Images are what the interval is over: the heads of a layer are all there are, not a sample.

    Args:
        study: complete or not; images that are not done do not count.
        metric: name of a variable of the study, per head or per layer.
        by: groups of images: `"label"` (what is in them), `"prediction"` (the likeliest class),
            `"correctness"` (whether the two are the same), or a value for each image (-1, None or
            "" leave it out). None: all together.
        at: where the metric has further dimensions, the coordinate of each, such as
            `{"query_kind": "patch", "key_kind": "class"}`.
        ablation: of a metric of importance; may be left out where the study has one only.
        confidence: of the interval.
        method: of the interval.

    Raises:
        HeadscopeError: the study has no such number or grouping, or there is no image in it.
    """
    scores, variable = layer_scores(study, metric, at=at, ablation=ablation)
    names = {
        "metric": metric,
        "long_name": str(variable.attrs.get("long_name", metric)),
        "units": str(variable.attrs.get("units", "")),
    }
    if variable.attrs.get(ACROSS):
        if by is not None:
            raise HeadscopeError(
                f"The metric {metric!r} is of all images together and has no value by group; leave "
                "the groups out, or analyse the images of each group by themselves."
            )
        none = np.full(scores.shape, np.nan)
        return Trend(
            **names,
            groups=("all",),
            mean=scores,
            low=none,
            high=none,
            n_images=np.full(scores.shape, study.n_done),
            confidence=confidence,
            method=method,
            reason="It is a number of all images together: there is no spread over images.",
        )
    groups = {"all": np.arange(len(scores))} if by is None else _groups(study, by)
    found = [interval_of(scores[images], confidence, method) for images in groups.values()]
    return Trend(
        **names,
        groups=tuple(groups),
        mean=np.stack([each.mean for each in found]),
        low=np.stack([each.low for each in found]),
        high=np.stack([each.high for each in found]),
        n_images=np.stack([each.n_images for each in found]),
        confidence=confidence,
        method=method,
        reason=next((each.reason for each in found if each.reason), ""),
    )


def layer_scores(
    study: Study, metric: str, *, at: Mapping[str, Any] | None = None, ablation: str | None = None
) -> tuple[Float[np.ndarray, "image layer"], xr.DataArray]:
    """A number of each image and layer, mean over the layer's heads, and the variable it is of.

    Raises:
        HeadscopeError: as `trend`.
    """
    per_head = head_scores(study, metric, at=at, ablation=ablation)
    return mean_of(per_head.values.astype(float), (2,)), per_head


def head_scores(
    study: Study, metric: str, *, at: Mapping[str, Any] | None = None, ablation: str | None = None
) -> xr.DataArray:
    """A number as `image layer head`; one head where a layer has one number, one image where it is
    of all images together.

    Raises:
        HeadscopeError: as `trend`.
    """
    if metric not in study.data or "layer" not in study.data[metric].dims:
        there = [str(name) for name, each in study.data.data_vars.items() if "layer" in each.dims]
        raise HeadscopeError(
            f"{study} has no number {metric!r} by layer; it has: {', '.join(sorted(there))}."
        )
    variable = study.data[metric]
    if variable.attrs.get("units") == "token":
        raise HeadscopeError(
            f"{metric!r} tells which token it is by index, and a mean of indices is no token; read "
            f"study.data[{metric!r}] image by image."
        )
    chosen = dict(at or {})
    if "ablation" in variable.dims:
        modes = variable["ablation"].values.tolist()
        if ablation is None and len(modes) > 1:
            raise HeadscopeError(
                f"{metric!r} was measured by several ablations; name one of: {', '.join(modes)}."
            )
        chosen["ablation"] = modes[0] if ablation is None else ablation
    for dim, value in chosen.items():
        if dim not in variable.dims or dim in ("image", "layer", "head"):
            raise HeadscopeError(f"The metric {metric!r} has no dimension {dim!r} to choose from.")
        values = variable[dim].values
        place = np.flatnonzero(
            np.isclose(values, value) if values.dtype.kind == "f" else values == value
        )
        if not len(place):
            raise HeadscopeError(
                f"{metric!r} has no {dim} {value!r}; it has: {', '.join(map(str, values))}."
            )
        variable = variable.isel({dim: int(place[0])})
    left = [str(dim) for dim in variable.dims if dim not in ("image", "layer", "head")]
    if left:
        raise HeadscopeError(
            f"The metric {metric!r} has several numbers for each layer; choose by "
            f"`at`, such as {left[0]}={variable[left[0]].values.tolist()[0]!r}."
        )
    missing = [dim for dim in ("image", "head") if dim not in variable.dims]
    return variable.expand_dims(missing).transpose("image", "layer", "head")


def check_ablations(metric: str, variables: Iterable[xr.DataArray]) -> None:
    """Raise a HeadscopeError where what `head_scores` gives was measured by several ablations."""
    modes = dict.fromkeys(
        str(each.coords["ablation"].item()) for each in variables if "ablation" in each.coords
    )
    if len(modes) > 1:
        raise HeadscopeError(
            f"{metric!r} was measured by other ablations in each study ({', '.join(modes)}), which "
            "tells nothing of the difference; analyse both with the same, or name one that all "
            "have by `ablation`."
        )


def interval_of(
    scores: Float[np.ndarray, "image column"], confidence: float, method: Method
) -> Interval:
    """The mean over images, with its interval."""
    if method == "t":
        return t_interval(scores, confidence)
    return bootstrap_interval(scores, confidence, method=method)


def mean_of(values: Float[np.ndarray, "..."], axes: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Mean of what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axes)
    total = np.where(there, values, 0).sum(axes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _groups(study: Study, by: By) -> dict[str, Int[np.ndarray, " image"]]:
    """The images of each group by its name, groups in the order of their values."""
    values = _grouping(study, by)
    if len(values) != study.n_images:
        raise HeadscopeError(
            f"There are {len(values)} groups for {study.n_images} images; give one for each, and "
            f"{UNKNOWN} where it is not known."
        )
    done = study.data["done"].values
    members: dict[Any, list[int]] = {}
    for image, value in enumerate(values):
        if done[image] and value not in (UNKNOWN, None, ""):
            members.setdefault(value, []).append(image)
    if not members:
        raise HeadscopeError("No image that is done is in any group.")
    of_classes = isinstance(by, str) and by != "correctness"
    names = [study.labels[value] if of_classes else str(value) for value in members]
    # Two classes of one name stay two groups.
    names = [
        f"{name} ({value})" if names.count(name) > 1 else name
        for name, value in zip(names, members, strict=True)
    ]
    order = sorted(range(len(names)), key=lambda i: _rank(list(members)[i]))
    groups = list(members.values())
    return {names[i]: np.array(groups[i]) for i in order}


def _rank(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, (int, float, bool))
    return (0, float(value), "") if number else (1, 0.0, str(value))


def _grouping(study: Study, by: By) -> list[Any]:
    if not isinstance(by, str):
        return np.asarray(by, dtype=object).tolist()
    if by not in ("label", "prediction", "correctness"):
        raise HeadscopeError(
            f"Images are grouped by label, prediction or correctness, or by a value for each; got "
            f"{by!r}."
        )
    if by != "prediction" and "label" not in study.data:
        raise HeadscopeError(
            f"{study} does not know what is in the images; analyse with labels, or group by "
            "prediction."
        )
    if "top_class" not in study.data:
        raise HeadscopeError(f"{study} has no classes; group by a value for each image.")
    predicted = study.data["top_class"].values[:, 0]
    if by == "prediction":
        return predicted.tolist()
    label = study.data["label"].values
    if by == "label":
        return label.tolist()
    return [
        None if known < 0 else "right" if known == likeliest else "wrong"
        for known, likeliest in zip(label.tolist(), predicted.tolist(), strict=True)
    ]
