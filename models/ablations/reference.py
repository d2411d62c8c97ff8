"""What heads give over a set of images: their mean and spread, and the outputs of others."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..capture import LayerAttention, watch
from ..checkpoint import Checkpoint, Images
from ..errors import HeadscopeError
from ..images import one_or_many

BATCH_SIZE = 8
"""Images in one forward pass: only its own head outputs are held."""

Read = Callable[[Sequence[int]], Float[Tensor, "image 3 row column"]]
"""The model's input for images by their place in the set."""


@dataclass(frozen=True, eq=False)
class HeadStatistics:
    """The output of every head over a set of images, by layer: mean and standard deviation.

    What `mean`, `resample` and `noise` ablation compare with. It holds two numbers for each head,
    token and channel, however many images there are; an image whose head outputs are asked for
    runs again. An image is known by what the model sees of it, so nothing here depends on how
    images are put together in batches.
    """

    checkpoint: Checkpoint
    mean: tuple[Float[Tensor, "head query channel"], ...]
    std: tuple[Float[Tensor, "head query channel"], ...]
    """Of the set itself: divided by n."""
    n_images: int
    seed: int
    digests: tuple[str, ...]
    """SHA-256 of the model's input, of each different image."""
    _places: tuple[int, ...]
    """Where in the set each of them is first."""
    _read: Read

    @classmethod
    def over(
        cls,
        checkpoint: Checkpoint,
        n_images: int,
        read: Read,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        on_batch: Callable[[int], None] | None = None,
    ) -> "HeadStatistics":
        """One pass over a set of images; `on_batch` is told how many are done.

        Raises:
            HeadscopeError: there are not two images that differ.
        """
        moments = [_Moments() for _ in range(checkpoint.n_layers)]

        def fold(layer: LayerAttention) -> None:
            moments[layer.layer].add(layer.head_output)

        places: dict[str, int] = {}
        for start in range(0, n_images, batch_size):
            indices = range(start, min(start + batch_size, n_images))
            batch = read(indices)
            for place, digest in zip(indices, digests_of(batch), strict=True):
                places.setdefault(digest, place)
            watch(checkpoint, batch, fold)
            if on_batch is not None:
                on_batch(indices.stop)
        if len(places) < 2:
            raise HeadscopeError(
                f"A reference is about what differs between images, and of {n_images} given "
                f"{'none is another' if n_images > 1 else 'there is no other'}; give at least two "
                "that differ."
            )
        return cls(
            checkpoint,
            tuple(of_layer.mean for of_layer in moments),
            tuple(of_layer.std for of_layer in moments),
            n_images,
            seed,
            tuple(places),
            tuple(places.values()),
            read,
        )

    def of(self, batch: Float[Tensor, "image 3 row column"]) -> "StandIns":
        """What there is for the images of one batch."""
        return StandIns(self, digests_of(batch))

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise a HeadscopeError unless this is about that checkpoint."""
        if checkpoint is not self.checkpoint and checkpoint.digest != self.checkpoint.digest:
            raise HeadscopeError(
                f"The reference is of {self.checkpoint.name}, which has other weights than "
                f"{checkpoint.name}; make one with hs.reference(checkpoint, images)."
            )
        sizes = [of.preprocessing.size for of in (self.checkpoint, checkpoint)]
        if sizes[0] != sizes[1]:
            raise HeadscopeError(
                f"The reference is of inputs of {sizes[0]} px (height, width), and "
                f"{checkpoint.name} takes {sizes[1]}; make one with hs.reference."
            )

    @cached_property
    def donor_of(self) -> dict[str, int]:
        """Which of the different images stands in for each of them.

        All of them in a circle, in an order drawn by the seed; each takes the next: none is its
        own, and each stands in once.
        """
        order = np.random.default_rng(self.seed).permutation(len(self.digests))
        following = zip(order.tolist(), np.roll(order, -1).tolist(), strict=True)
        return {self.digests[taker]: donor for taker, donor in following}

    def donor(self, digest: str) -> int:
        """The stand-in of any image: one from outside the set takes what its digest says."""
        outside = (int(digest, 16) + self.seed) % len(self.digests)
        return self.donor_of.get(digest, outside)

    def outputs(
        self, chosen: Sequence[int]
    ) -> tuple[Float[Tensor, "image head query channel"], ...]:
        """The head outputs of some of the different images, layer by layer: they run again.

        Raises:
            HeadscopeError: an image is not what it was.
        """
        batch = self._read([self._places[index] for index in chosen])
        if digests_of(batch) != tuple(self.digests[index] for index in chosen):
            raise HeadscopeError(
                "An image of the reference changed after the reference was made; make it again."
            )
        layers: list[Tensor] = []
        watch(self.checkpoint, batch, lambda layer: layers.append(layer.head_output))
        return tuple(layers)


@dataclass(frozen=True, eq=False)
class StandIns:
    """What a reference has for the images of one batch."""

    statistics: HeadStatistics
    digests: tuple[str, ...]

    @cached_property
    def donors(self) -> tuple[Float[Tensor, "image head query channel"], ...]:
        """For each layer the head outputs of the images that stand in."""
        return self.statistics.outputs([self.statistics.donor(digest) for digest in self.digests])

    def noise(self, layer: int, head: int) -> Float[Tensor, "image query channel"]:
        """Standard normal numbers, drawn for each image by itself: the same in any batch."""
        shape = self.statistics.mean[layer].shape[1:]
        return torch.stack(
            [
                torch.randn(shape, generator=_generator(self.statistics.seed, digest, layer, head))
                for digest in self.digests
            ]
        )


def reference(
    checkpoint: Checkpoint, images: Images, *, seed: int = 0, batch_size: int = BATCH_SIZE
) -> HeadStatistics:
    """What every head gives over a set of images, for ablations that compare with others.

    Args:
        checkpoint: from `load`.
        images: at least two that differ, of any source, or a batch ready for the model. A path is
            read when its turn comes.
        seed: of what is drawn: which image stands in for which, and noise.
        batch_size: images in one forward pass.

    Raises:
        HeadscopeError: an image cannot be read, or there are not two that differ.
    """
    if isinstance(images, Tensor):
        checkpoint.check_batch(images)
        batch = images

        def read(indices: Sequence[int]) -> Tensor:
            return checkpoint.batch(batch[list(indices)])

        return HeadStatistics.over(checkpoint, len(batch), read, seed=seed, batch_size=batch_size)
    sources = one_or_many(images)

    def read_sources(indices: Sequence[int]) -> Tensor:
        return checkpoint.batch([sources[index] for index in indices])

    return HeadStatistics.over(
        checkpoint, len(sources), read_sources, seed=seed, batch_size=batch_size
    )


def digests_of(batch: Float[Tensor, "image 3 row column"]) -> tuple[str, ...]:
    """SHA-256 of each image of a batch, as the model sees it."""
    plain = batch.detach().cpu().contiguous()
    return tuple(
        hashlib.sha256(image.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
        for image in plain
    )


def _generator(seed: int, digest: str, layer: int, head: int) -> torch.Generator:
    name = hashlib.sha256(f"{seed} {digest} {layer} {head}".encode()).digest()
    # On the CPU whatever the device: the same numbers everywhere.
    return torch.Generator().manual_seed(int.from_bytes(name[:8]) >> 1)


class _Moments:
    """Mean and sum of squared differences from it, batch by batch, in float64.

    Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances" (1979): no difference of large sums.
    """

    def __init__(self) -> None:
        self._n = 0
        self._dtype = torch.float64

    def add(self, outputs: Float[Tensor, "image head query channel"]) -> None:
        n, exact = len(outputs), outputs.double()
        mean = exact.mean(0)
        squares = (exact - mean).square().sum(0)
        if self._n == 0:
            self._mean, self._squares, self._dtype = mean, squares, outputs.dtype
        else:
            total = self._n + n
            shift = mean - self._mean
            self._squares = self._squares + squares + shift.square() * (self._n * n / total)
            self._mean = self._mean + shift * (n / total)
        self._n += n

    @property
    def mean(self) -> Float[Tensor, "head query channel"]:
        return self._mean.to(self._dtype)

    @property
    def std(self) -> Float[Tensor, "head query channel"]:
        return (self._squares / self._n).sqrt().to(self._dtype)
