"""A network with its weights, preprocessing, label names and token layout."""

import hashlib
import operator
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from .errors import MISFIT, HeadscopeError, first_line
from .families import Family, family_of
from .images import ImageSource, Photograph, one_or_many, read_image
from .interception import Site, without_fast_path
from .layers import Common, Layer
from .layout import AttentionLayout, TokenLayout
from .readout import Readout, readout_of
from .report import CaptureReport, read
from .routing import routed_layouts

Images = Tensor | Photograph | ImageSource | Iterable[ImageSource | Photograph]
"""A batch ready for the model, one image, or several."""

_LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601, as Pillow's conversion to grey has it."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the input that the checkpoint was trained on."""

    size: tuple[int, int]
    """Height and width of the input, in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    @property
    def channels(self) -> int:
        """Of the input."""
        return len(self.mean)

    def describe(self) -> str:
        """One line for people."""
        height, width = self.size
        return (
            f"resized ({self.interpolation}), {self.crop_mode} crop of {self.crop_pct:.1%}, "
            f"{width}×{height} px, mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )

    def crop(self, photograph: Photograph) -> UInt8[np.ndarray, "row column 3"]:
        """Exactly what the model sees of a photograph, before normalisation."""
        from PIL import Image

        pixels = self._transform(Image.fromarray(photograph.pixels))
        return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())

    @cached_property
    def _transform(self) -> Any:
        # normalize=False ends in uint8 pixels: they are what is shown and what a study keeps.
        return create_transform(
            (3, *self.size),
            is_training=False,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            normalize=False,
        )

    def normalise(
        self, crops: UInt8[np.ndarray, "image row column 3"]
    ) -> Float[Tensor, "image 3 row column"]:
        """Crops as the float input of the model."""
        pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255
        if self.channels == 1:
            weights = torch.tensor(_LUMINANCE).view(1, 3, 1, 1)
            pixels = (pixels * weights).sum(1, keepdim=True)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with its weights, preprocessing, label names and token layout.

    Made by `load`. One network serves all threads: whoever runs it holds `lock`.
    """

    name: str
    architecture: str
    model: nn.Module
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    """Class names by class index; empty for a model without a classifier."""
    family: Family
    layers: tuple[Layer, ...]
    """What can be read, in the order in which it runs."""
    report: CaptureReport
    readout: Readout = field(repr=False)
    """From what the model gives to one row of logits or features for each image."""
    image_axes: Mapping[str, tuple[int | None, ...]] = field(repr=False)
    """Of the tensors that each module gives, the axis of the images; None for parameters."""
    prefix_kinds: tuple[str, ...] = ()
    """Kinds of the tokens that are no patches, in their order."""
    loaded_with: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of `load`, so that a study can be looked at with the same checkpoint."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        name: str,
        architecture: str,
        preprocessing: Preprocessing,
        labels: tuple[str, ...] = (),
        readout: Readout | None = None,
        prefix: tuple[str, ...] | None = None,
        layout: TokenLayout | None = None,
        loaded_with: Mapping[str, Any] | None = None,
    ) -> "Checkpoint":
        """Read a model, and check the reading against the model's own output.

        `prefix` and `layout` say what the model itself does not tell (`wrap`).

        Raises:
            HeadscopeError: none of its attention can be read, or it does not take the input.
        """
        model.eval().requires_grad_(requires_grad=False)
        family = family_of(model)
        readout = readout or readout_of(model)
        noise = torch.Generator().manual_seed(0)
        example = torch.randn(1, preprocessing.channels, *preprocessing.size, generator=noise)
        example = example.to(_weight(model))
        try:
            kinds = family.prefix_kinds(model) if prefix is None else prefix
            report, layers, trace = read(model, example, kinds, readout, layout)
        except MISFIT as error:
            height, width = preprocessing.size
            raise HeadscopeError(
                f"{name} does not run on {preprocessing.channels} channels of {width}×{height} px "
                f"(width × height): {first_line(error)}"
            ) from error
        return cls(
            name=name,
            architecture=architecture,
            model=model,
            preprocessing=preprocessing,
            labels=labels,
            family=family,
            layers=layers,
            report=report,
            readout=readout,
            image_axes=trace.image_axes,
            prefix_kinds=kinds,
            loaded_with=loaded_with or {},
        )

    @cached_property
    def layer_of(self) -> dict[Site, int]:
        """The layer of each call that can be read."""
        return {site: layer.index for layer in self.layers for site in layer.sites}

    @property
    def layout(self) -> TokenLayout:
        """The tokens of the first layer; in a model of one column, those of every layer."""
        return self.layers[0].layout.queries

    @property
    def common(self) -> Common:
        """What the layers have between them."""
        return self.layers[0].common

    def routed_layouts(
        self, batch: Float[Tensor, "image channel row column"]
    ) -> dict[int, list[AttentionLayout]]:
        """For layers whose windows depend on the image: the layout of each image of a batch."""
        if not any(layer.routed for layer in self.layers):
            return {}
        return routed_layouts(self.model, self.layers, batch, self.prefix_kinds)

    @property
    def n_layers(self) -> int:
        return len(self.report.layers)

    @property
    def n_heads(self) -> tuple[int, ...]:
        """Heads of each layer."""
        return tuple(reading.n_heads for reading in self.report.layers)

    @property
    def has_classes(self) -> bool:
        return bool(self.labels)

    @property
    def device(self) -> torch.device:
        return _weight(self.model).device

    @property
    def identity(self) -> str:
        """Of all that decides a number: `digest`, preprocessing and precision."""
        precision = self.loaded_with.get("precision", "float32")
        return f"{self.digest} {self.preprocessing} {precision}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the architecture and the names, shapes and bytes of all weights."""
        # Not the tensors alone: another activation, or another number of heads, may leave no trace.
        digest = hashlib.sha256(f"{self.architecture} {self.n_heads}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def crop(self, photograph: Photograph) -> UInt8[np.ndarray, "row column 3"]:
        """Exactly what the model sees of a photograph, before normalisation."""
        return self.preprocessing.crop(photograph)

    def prepare(
        self, crops: UInt8[np.ndarray, "image row column 3"]
    ) -> Float[Tensor, "image 3 row column"]:
        """Crops as the model's input, on its device and in its precision.

        A model of one channel is given their luminance.

        Raises:
            HeadscopeError: the model takes another number of channels than 1 or 3.
        """
        if self.preprocessing.channels not in (1, 3):
            raise HeadscopeError(
                f"{self.name} takes {self.preprocessing.channels} channels, and photographs have "
                "3; give Checkpoint.batch a float tensor of (images, channels, height, width)."
            )
        return self.preprocessing.normalise(crops).to(_weight(self.model))

    def batch(self, images: Images) -> Float[Tensor, "image 3 row column"]:
        """The model's input for images of any source; a float tensor is taken as it is.

        Raises:
            HeadscopeError: an image cannot be read, or a tensor is no input of this model.
        """
        if isinstance(images, Tensor):
            self.check_batch(images)
            return images.to(_weight(self.model))
        photographs = [
            image if isinstance(image, Photograph) else read_image(image)
            for image in one_or_many(images)
        ]
        if not photographs:
            raise HeadscopeError("There is no image; give at least one.")
        return self.prepare(np.stack([self.crop(photograph) for photograph in photographs]))

    def run(self, batch: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image output"]:
        """The model's output: logits, or features where there is no classifier."""
        with self.lock, torch.inference_mode(), without_fast_path():
            return self.readout(self.model(batch))

    def probabilities(
        self, batch: Float[Tensor, "image 3 row column"]
    ) -> Float[np.ndarray, "image label"]:
        """Class probabilities.

        Raises:
            HeadscopeError: the model has no classifier.
        """
        if not self.has_classes:
            raise HeadscopeError(f"{self.name} has no classes: it computes features only.")
        return self.run(batch).float().softmax(-1).cpu().numpy()

    def check_batch(self, batch: Tensor) -> None:
        """Raise a HeadscopeError unless a tensor is an input that the token layout is about."""
        expected = (self.preprocessing.channels, *self.preprocessing.size)
        if batch.dim() != 4 or tuple(batch.shape[1:]) != expected or not batch.is_floating_point():
            raise HeadscopeError(
                f"{self.name} takes float tensors of (images, {', '.join(map(str, expected))}), "
                f"got {tuple(batch.shape)} of {batch.dtype}; Checkpoint.batch makes them."
            )

    def check_head(self, layer: int, head: int) -> None:
        """Raise a HeadscopeError unless there is such a head; none counts from the end."""
        if not 0 <= layer < self.n_layers:
            raise HeadscopeError(
                f"There is no layer {layer} in {self.name}; its layers are 0 to "
                f"{self.n_layers - 1}."
            )
        if not 0 <= head < self.n_heads[layer]:
            raise HeadscopeError(
                f"There is no head {head} in layer {layer} of {self.name}; its heads are 0 to "
                f"{self.n_heads[layer] - 1}."
            )

    def class_index(self, target: int | str) -> int:
        """A class by index or by label.

        Raises:
            HeadscopeError: there is no such class.
        """
        if isinstance(target, str) and target in self.labels:
            indices = [i for i, label in enumerate(self.labels) if label == target]
            if len(indices) > 1:
                raise HeadscopeError(
                    f"{self.name} has {len(indices)} classes called {target!r}; name one by its "
                    f"index: {', '.join(map(str, indices))}."
                )
            return indices[0]
        if isinstance(target, str):
            index = int(target) if target.isdecimal() else -1
        else:
            index = operator.index(target)
        if not 0 <= index < len(self.labels):
            known = f"indices 0 to {len(self.labels) - 1}" if self.labels else "none"
            raise HeadscopeError(
                f"{self.name} has no class {target!r}; its classes: {known}"
                + (f", such as {self.labels[0]!r}." if self.labels else ".")
            )
        return index


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def _weight(model: nn.Module) -> Tensor:
    """Some weight: its device and precision are the model's."""
    return next(model.parameters())
