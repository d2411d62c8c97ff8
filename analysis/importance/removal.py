"""What removing heads together does to one number: the ground of curves, synergy and Shapley."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.ablations import HeadStatistics, ablation
from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from .budget import ELEMENTS_AT_ONCE
from .joint import Head, JointRun, elements_of_image
from .values import Value, value_named

Target = int | str | Sequence[int | str] | None
"""One class for all images, one for each, or None: each image's own prediction."""


class Removal:
    """v(S): a number for each image with the head set S removed, for one checkpoint and images.

    Called with head sets, it gives `set image` in float64. Everything is exact: no set is
    estimated from others. Images run in batches, and the head sets of a batch together.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        images: Images,
        *,
        value: str = "probability",
        target: Target = None,
        mode: str = "zero",
        reference: HeadStatistics | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Run the images once with all heads.

        Args:
            checkpoint: from `load`.
            images: of any source, or a batch ready for the model.
            value: what is read of the output; the names are those of `values`.
            target: the class that it is about, for all images or for each; None: each image's own
                prediction with all heads.
            mode: the ablation.
            reference: from `hs.reference`, for modes that compare with other images.
            batch_size: images in one forward pass; by default as many as keep memory small.

        Raises:
            HeadscopeError: an image, the value, the target or the ablation is not there.
        """
        ablation(mode).check_reference(checkpoint, reference)
        self.checkpoint, self.mode, self._reference = checkpoint, mode, reference
        self.value: Value = value_named(value, checkpoint)
        self._batches = checkpoint.batch(images).split(batch_size or _images_at_once(checkpoint))
        self._outputs = [checkpoint.run(batch).double() for batch in self._batches]
        self._targets = _targets(checkpoint, torch.cat(self._outputs), target).split(
            [len(batch) for batch in self._batches]
        )
        self._run: tuple[int, JointRun] | None = None
        self.clean: Float[np.ndarray, " image"] = self([()])[0]
        """v(∅): with all heads."""

    @property
    def n_images(self) -> int:
        return len(self.clean)

    @property
    def heads(self) -> tuple[Head, ...]:
        """Every head of the checkpoint, by layer."""
        return tuple(
            (layer, head)
            for layer, n_heads in enumerate(self.checkpoint.n_heads)
            for head in range(n_heads)
        )

    def __call__(self, sets: Sequence[Iterable[Head]]) -> Float[np.ndarray, "set image"]:
        """v of each head set, image by image.

        Raises:
            HeadscopeError: a head that the checkpoint does not have.
        """
        asked = [frozenset(heads) for heads in sets]
        parts: list[Tensor] = []
        for index, (clean, target) in enumerate(zip(self._outputs, self._targets, strict=True)):
            outputs = clean.expand(len(asked), *clean.shape).clone()
            if any(asked):
                removed = self._run_of(index).outputs([heads for heads in asked if heads])
                outputs[[bool(heads) for heads in asked]] = removed.double()
            parts.append(self.value.compute(outputs, clean, target).double().cpu())
        return torch.cat(parts, dim=1).numpy()

    def _run_of(self, index: int) -> JointRun:
        # Only one batch is kept ready: others would hold what is cheap to make again.
        if self._run is None or self._run[0] != index:
            run = JointRun(
                self.checkpoint, self._batches[index], mode=self.mode, reference=self._reference
            )
            self._run = (index, run)
        return self._run[1]


def standard_error(
    samples: Float[np.ndarray, "sample ..."],
) -> Float[np.ndarray, "..."]:
    """Standard deviation (with n − 1) over √n along the first axis; NaN for one sample."""
    n = len(samples)
    if n < 2:
        return np.full(samples.shape[1:], np.nan)
    return samples.std(0, ddof=1) / np.sqrt(n)


OnProgress = Callable[[int, int], None]
"""Told how many steps are done, and of how many; whatever it raises stops the work."""


def _images_at_once(checkpoint: Checkpoint) -> int:
    """Images of which 16 head sets make about one batch: side by side, sets share their work."""
    return max(1, ELEMENTS_AT_ONCE // (16 * elements_of_image(checkpoint)))


def _targets(
    checkpoint: Checkpoint, outputs: Float[Tensor, "image output"], target: Target
) -> Int[Tensor, " image"]:
    n_images = len(outputs)
    if not checkpoint.has_classes:
        if target is not None:
            raise HeadscopeError(
                f"{checkpoint.name} has no class {target!r}: it computes features only; leave the "
                "target out."
            )
        return torch.full((n_images,), -1, device=outputs.device)
    if target is None:
        return outputs.argmax(-1)
    if isinstance(target, (int, str)):
        return torch.full((n_images,), checkpoint.class_index(target), device=outputs.device)
    indices = [checkpoint.class_index(one) for one in target]
    if len(indices) != n_images:
        raise HeadscopeError(
            f"There are {len(indices)} targets for {n_images} images; give one for each, or one "
            "class for all."
        )
    return torch.tensor(indices, device=outputs.device)
