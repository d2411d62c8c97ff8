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

from .errors import HeadscopeError
from .families import Family, family_of
from .images import ImageSource, Photograph, one_or_many, read_image
from .interception import Site
from .layout import TokenLayout
from .report import CaptureReport, read

Images = Tensor | Photograph | ImageSource | Iterable[ImageSource | Photograph]
"""A batch ready for the model, one image, or several."""


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
    layout: TokenLayout
    report: CaptureReport
    layer_of: dict[Site, int]
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
        loaded_with: Mapping[str, Any] | None = None,
    ) -> "Checkpoint":
        """Read a model, and check the reading against the model's own output.

        Raises:
            HeadscopeError: the model's family, or all of its attention, cannot be read.
        """
        model.eval().requires_grad_(requires_grad=False)
        family = family_of(model)
        layout = family.layout(model, preprocessing.size)
        noise = torch.Generator().manual_seed(0)
        example = torch.randn(1, 3, *preprocessing.size, generator=noise).to(_weight(model))
        report, layer_of = read(model, layout, example)
        return cls(
            name,
            architecture,
            model,
            preprocessing,
            labels,
            family,
            layout,
            report,
            layer_of,
            loaded_with or {},
        )

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
        """Crops as the model's input, on its device and in its precision."""
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
        with self.lock, torch.inference_mode():
            return self.model(batch)

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
        expected = (3, *self.preprocessing.size)
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
