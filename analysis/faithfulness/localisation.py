"""Does a map lie where the object is? Scores against masks of input pixels."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

from ...models.errors import HeadscopeError
from .cells import Maps, checked, onto

Masks = Bool[np.ndarray, "image row column"]


def pointing_game(
    maps: Maps, masks: Masks, *, tolerance_px: float = 0
) -> Float[np.ndarray, " image"]:
    """1 where the map's largest value lies in the mask, else 0.

    The place is the centre of the cell with the largest value; where several are as large, the
    share of them that hits. Zhang et al., IJCV 126 (2018) allow 15 px on photographs; here the
    default allows none.

    Args:
        maps: one for each image, on any grid.
        masks: of the same images, at input pixels.
        tolerance_px: a centre that is no farther from the mask hits too.
    """
    maps, masks = _both(maps, masks)
    hits = np.empty(len(maps))
    size = np.array(masks.shape[1:])
    for index, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        distance = np.asarray(distance_transform_edt(~mask))
        centres = (np.argwhere(values == values.max()) + 0.5) / values.shape * size
        # A centre on the line between pixels touches all that meet there.
        low, high = np.ceil(centres).astype(int) - 1, np.floor(centres).astype(int)
        low, high = np.clip(low, 0, size - 1), np.clip(high, 0, size - 1)
        corners = [(low[:, 0], low[:, 1]), (low[:, 0], high[:, 1])]
        corners += [(high[:, 0], low[:, 1]), (high[:, 0], high[:, 1])]
        nearest = np.min([distance[rows, columns] for rows, columns in corners], axis=0)
        hits[index] = (nearest <= tolerance_px).mean()
    return hits


def energy_in_mask(maps: Maps, masks: Masks) -> Float[np.ndarray, " image"]:
    """Σ of the positive values within the mask / Σ of all positive values, 0…1.

    A flat map gives the mask's share of the image. NaN where nothing is positive. A cell that the
    mask cuts counts by area. Wang et al., Score-CAM (arXiv 1910.01279), section 4.3.
    """
    maps, masks = _both(maps, masks)
    positive = np.clip(maps, 0, None)
    share = onto(masks.astype(np.float64), (maps.shape[1], maps.shape[2]))
    total = positive.sum((1, 2))
    inside = (positive * share).sum((1, 2))
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def iou(
    maps: Maps, masks: Masks, *, threshold: Literal["area", "best", "otsu"] = "area"
) -> Float[np.ndarray, " image"]:
    """Overlap of the map's top with the mask: intersection / union, 0…1.

    threshold:
        "area": the top is as large as the mask, so that no method gains by its scale; of cells
            with the value at the edge, that share is taken which fills the area.
        "best": the largest over all thresholds, an upper bound that looks at the truth.
        "otsu": above the threshold that splits the map's own values best (Otsu, 1979).
    """
    maps, masks = _both(maps, masks)
    score: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "area": _of_same_area,
        "best": _best,
        "otsu": _otsu,
    }
    if threshold not in score:
        raise HeadscopeError(f"There is no threshold {threshold!r}; there are: {', '.join(score)}.")
    size = (masks.shape[1], masks.shape[2])
    at_pixels = onto(maps, size)
    pairs = zip(at_pixels, masks, strict=True)
    return np.array([score[threshold](values.ravel(), mask.ravel()) for values, mask in pairs])


def check_masks(masks: Masks, n_images: int | None = None) -> Masks:
    """Masks as bools.

    Raises:
        HeadscopeError: not one for each image, other values than 0 and 1, or an empty one.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3 or (n_images is not None and len(masks) != n_images):
        wanted = "one for each image" if n_images is None else f"{n_images}"
        raise HeadscopeError(
            f"Masks of shape {masks.shape} do not fit; expected (images, rows, columns), {wanted}."
        )
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise HeadscopeError(
            f"A mask holds values from {masks.min()} to {masks.max()}; expected True where the "
            "object is, else False."
        )
    masks = masks.astype(bool)
    area = masks.mean((1, 2))
    for wrong, what in ((area == 0, "empty"), (area == 1, "of the whole image")):
        if wrong.any():
            raise HeadscopeError(
                f"The mask of image {int(np.flatnonzero(wrong)[0])} is {what}: nothing can be "
                "found in it; leave that image out, or give the object's own pixels."
            )
    return masks


def _both(maps: Maps, masks: Masks) -> tuple[Maps, Masks]:
    masks = check_masks(masks)
    maps = checked(maps, len(masks))
    if maps.shape[1] > masks.shape[1] or maps.shape[2] > masks.shape[2]:
        raise HeadscopeError(
            f"Masks of {masks.shape[1]}×{masks.shape[2]} pixels are coarser than the map of "
            f"{maps.shape[1]}×{maps.shape[2]} cells; give masks at the model's input pixels."
        )
    return maps, masks


def _tops(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and pixels of the mask, with a value at least as large as each one that occurs."""
    distinct, place = np.unique(-values, return_inverse=True)
    counts = np.bincount(place, minlength=len(distinct))
    inside = np.bincount(place, weights=mask, minlength=len(distinct))
    return counts.cumsum(), inside.cumsum()


def _of_same_area(values: np.ndarray, mask: np.ndarray) -> float:
    taken, inside = _tops(values, mask)
    area = mask.sum()
    # Between two thresholds the share of the mask among ties is even.
    shared = np.interp(area, np.append(0, taken), np.append(0, inside))
    return float(shared / (2 * area - shared))


def _best(values: np.ndarray, mask: np.ndarray) -> float:
    taken, inside = _tops(values, mask)
    return float((inside / (taken + mask.sum() - inside)).max())


def _otsu(values: np.ndarray, mask: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    if values.min() == values.max():  # nothing to split: all of it
        return float(mask.mean())
    top = values > threshold_otsu(values)
    return float((top & mask).sum() / (top | mask).sum())
