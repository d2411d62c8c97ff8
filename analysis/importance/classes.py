"""Importance by class, and accuracy without each head, where it is known what is in the images."""

import numpy as np
import xarray as xr
from jaxtyping import Int

from ...models.errors import HeadscopeError
from ..study import Study
from .metrics import TOP


def per_class(scores: xr.DataArray, labels: Int[np.ndarray, " image"] | xr.DataArray) -> xr.Dataset:
    """Means of per-image scores over the images of each class.

    Args:
        scores: a variable of a study: dims `image layer head`, and others if there are.
        labels: class index of each image, such as `study.data["label"]`; images with -1 are left
            out.

    Returns:
        `mean`, with `class` in the place of `image`, in the units of the scores, NaN where there is
        no such head; `n_images` of each class. Classes are by index, those that occur alone.

    Raises:
        HeadscopeError: labels and images are not as many.
    """
    of_image = np.asarray(labels)
    if of_image.shape != (scores.sizes["image"],):
        raise HeadscopeError(
            f"There are {of_image.size} labels for {scores.sizes['image']} images; give one for "
            "each, and -1 where it is not known."
        )
    classes, counts = np.unique(of_image[of_image >= 0], return_counts=True)
    if not len(classes):
        raise HeadscopeError("No image has a label, so there are no means by class; give labels.")
    means = [scores.isel(image=np.flatnonzero(of_image == c)).mean("image") for c in classes]
    mean = xr.concat(means, xr.Variable("class", classes)).assign_attrs(scores.attrs)
    return xr.Dataset({"mean": mean, "n_images": ("class", counts)})


def accuracy(study: Study, *, top: int = 1) -> xr.Dataset:
    """Share of the labelled images whose label is among the `top` likeliest classes.

    Args:
        study: made with labels.
        top: 1 or 5.

    Returns:
        `whole`, with all heads; `without`, dims `ablation layer head`, each head ablated; both
        shares from 0 to 1; and `n_images`, how many count: those that are done and have a label.

    Raises:
        HeadscopeError: the study has not measured it.
    """
    name = f"top{top}_drop"
    if top not in (1, TOP) or name not in study.data:
        raise HeadscopeError(
            f"{study} has no top-{top} accuracy without each head; analyse with labels and the "
            f"metric top1_drop or, for more than {TOP} classes, top{TOP}_drop."
        )
    data = study.data[["done", "label", "top_class", name]]
    data = data.isel(image=np.flatnonzero(data["done"].values & (data["label"].values >= 0)))
    if not data.sizes["image"]:
        raise HeadscopeError(f"{study} has no image with a label that is done; let it go on.")
    hit = (data["top_class"].isel(rank=slice(top)) == data["label"]).any("rank")
    whole = hit.mean().assign_attrs(long_name=f"Top-{top} accuracy", units="share")
    without = (whole - data[name].mean("image")).assign_attrs(
        long_name=f"Top-{top} accuracy without the head", units="share"
    )
    return xr.Dataset({"whole": whole, "without": without, "n_images": data.sizes["image"]})
