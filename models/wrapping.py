"""Checkpoints of models from elsewhere: torchvision's, transformers', open_clip's, or one's own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from .checkpoint import Checkpoint, Preprocessing
from .errors import HeadscopeError
from .layout import TokenLayout
from .readout import Readout

_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for the ways to resize."""


def wrap(
    module: nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    processor: Any = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    readout: Readout | None = None,
    prefix: Sequence[str] | None = None,
    layout: TokenLayout | None = None,
) -> Checkpoint:
    """A checkpoint of any module that maps a batch of images to logits or features.

    Args:
        module: takes `image channel row column` as its first argument. It is put in evaluation
            mode, and stays on its device.
        image_size: height and width of the input, in pixels; without it that of `processor`, or
            the one that the module itself tells.
        mean: of the input's channels, as fractions of white; one each. Without it that of
            `processor`, or ImageNet's.
        std: standard deviation, likewise.
        processor: a transformers image processor: how a photograph becomes the input.
        labels: class names by class index. Without them those of a transformers configuration; a
            module without any counts as one that computes features.
        name: what the checkpoint is called; without it the module's class.
        readout: from what the module gives to one row an image, where it is no plain tensor,
            sequence, or mapping with one of `readout.FIELDS`.
        prefix: kinds of the tokens that are no patches, in their order, such as `("class",)`,
            where the names of the module's parameters do not tell them.
        layout: the tokens, where they cannot be traced through the module. It stands for every
            attention between as many tokens.

    Raises:
        HeadscopeError: the input's size is not known, the module does not run on it, none of its
            attention can be read, or what is given does not fit it.
    """
    if not isinstance(module, nn.Module):
        raise HeadscopeError(
            f"wrap takes a torch.nn.Module, got {type(module).__name__}."
            + (" Call it first: its instance is the model." if isinstance(module, type) else "")
        )
    if next(module.parameters(), None) is None:
        raise HeadscopeError(
            f"{type(module).__name__} has no parameters: there is nothing to read."
        )
    name = name or type(module).__name__
    preprocessing = _preprocessing(module, name, image_size, mean, std, processor)
    checkpoint = Checkpoint.of(
        module,
        name=name,
        architecture=f"{type(module).__module__}.{type(module).__qualname__}",
        preprocessing=preprocessing,
        labels=_labels(module) if labels is None else tuple(labels),
        readout=readout,
        prefix=None if prefix is None else tuple(prefix),
        layout=layout,
    )
    example = torch.zeros(1, preprocessing.channels, *preprocessing.size)
    n_outputs = checkpoint.run(checkpoint.batch(example)).shape[-1]
    if labels and len(labels) != n_outputs:
        raise HeadscopeError(
            f"{name} gives {n_outputs} numbers for an image and has {len(labels)} labels; give "
            "one label for each, or none."
        )
    return checkpoint


def _preprocessing(
    module: nn.Module,
    name: str,
    image_size: int | tuple[int, int] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    processor: Any,
) -> Preprocessing:
    told = _of_processor(processor)
    size = _size(image_size) or told.pop("size", None) or _own_size(module)
    told.pop("size", None)
    if size is None:
        raise HeadscopeError(
            f"The input size of {name} is not known: give wrap(…, image_size=224), or a pair of "
            "height and width."
        )
    told["mean"] = tuple(mean or told.get("mean") or IMAGENET_DEFAULT_MEAN)
    told["std"] = tuple(std or told.get("std") or IMAGENET_DEFAULT_STD)
    if len(told["mean"]) != len(told["std"]):
        raise HeadscopeError(
            f"mean has {len(told['mean'])} channels and std {len(told['std'])}; expected as many."
        )
    return Preprocessing(size, **told)


def _size(value: Any) -> tuple[int, int] | None:
    """Height and width of whatever says them: a number, a pair, `{"height": …, "width": …}`."""
    if value is None or isinstance(value, int):
        return None if value is None else (value, value)
    if isinstance(value, Mapping) or hasattr(value, "get"):
        value = value.get("height"), value.get("width")
    height, width = value
    return None if height is None or width is None else (int(height), int(width))


def _own_size(module: nn.Module) -> tuple[int, int] | None:
    """What transformers' configurations, torchvision's and open_clip's models tell."""
    for holder in (getattr(module, "config", None), module):
        for field in ("image_size", "img_size"):
            value = getattr(holder, field, None)
            if isinstance(value, (int, tuple, list)):
                return _size(value)
    return None


def _of_processor(processor: Any) -> dict[str, Any]:
    """Preprocessing as a transformers image processor does it, by the words of `Preprocessing`."""
    if processor is None:
        return {}
    told: dict[str, Any] = {}
    resized, crop = (getattr(processor, field, None) for field in ("size", "crop_size"))
    cropped = _size(crop) if getattr(processor, "do_center_crop", False) else None
    shortest = None if resized is None else resized.get("shortest_edge")
    if cropped is not None:
        # timm resizes the shorter side to size / crop_pct, and cuts the middle out.
        told |= {"size": cropped, "crop_pct": min(cropped) / shortest if shortest else 1.0}
    elif resized is not None and _size(resized) is not None:
        told |= {"size": _size(resized), "crop_mode": "squash"}
    elif shortest:
        told["size"] = (shortest, shortest)
    for word, field in (("mean", "image_mean"), ("std", "image_std")):
        if getattr(processor, field, None) is not None:
            told[word] = tuple(float(value) for value in getattr(processor, field))
    if getattr(processor, "resample", None) is not None:
        told["interpolation"] = _INTERPOLATIONS.get(int(processor.resample), "bicubic")
    return told


def _labels(module: nn.Module) -> tuple[str, ...]:
    """Class names of a transformers classifier."""
    config = getattr(module, "config", None)
    names = getattr(config, "id2label", None)
    if not isinstance(names, Mapping) or "Classification" not in type(module).__name__:
        return ()
    return tuple(str(names[index]) for index in sorted(names))
