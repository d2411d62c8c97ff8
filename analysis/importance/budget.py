"""How many images and ablations run at once: as many as are fast, and as fit into memory.

What a checkpoint needs is measured, by one image and two ablations of it, as the bytes of all
tensors alive at the same time; so it holds for models of any shape. The peak of a process that
computes importance is then expected below

    what it holds now + HEADROOM + SLACK · images · (clean + variants · variant)

with `clean` the bytes that a clean pass keeps of an image, or makes on its way, and `variant` those
that one more ablation of it takes.
"""

import math
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.replay import Replay

ELEMENTS_AT_ONCE = 13 * 197 * 768
"""Numbers in the hidden state of one batch of ablated images: 13 images for ViT-B/16. Smaller
batches leave a CPU's cores; in larger ones, what an MLP makes of a batch passes 32 MiB, which the C
library asks of the system anew each time, page by page."""

SLACK = 1.3
"""What the allocator holds beyond tensors, and what kernels use within one call."""
HEADROOM = 50_000_000
"""Bytes for what does not grow with the batch: buffers of threads, code, results."""

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int:
    """A number of bytes from `"4GB"`, `"500 MB"`, `"1.5GiB"` or `"4000000000"`.

    GB is 10⁹ bytes, GiB is 2³⁰.

    Raises:
        HeadscopeError: it says something else, or nothing.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(I)?)?B?\s*", text.upper())
    if match is not None:
        number, unit, binary = match.groups()
        size = float(number) * (_BINARY_UNITS[unit] if binary else _UNITS[unit or ""])
        if size >= 1:
            return int(size)
    raise HeadscopeError(f"{text!r} is no amount of memory; expected such as 4GB, 500MB or 1.5GiB.")


def show_bytes(n_bytes: float) -> str:
    """As people read it, rounded up so that it is enough: `"4.00 GB"`, `"850 MB"`."""
    if n_bytes >= 1e9:
        return f"{math.ceil(n_bytes / 1e7) / 100:.2f} GB"
    return f"{math.ceil(n_bytes / 1e6)} MB"


@final
@dataclass(frozen=True)
class Budget:
    """How much of an analysis runs at once."""

    images_at_once: int
    """Images whose clean pass is kept at the same time."""
    variants_at_once: int
    """Ablations of each of those images that run as one batch, of one or of several layers."""
    bound: int | None = None
    """Bytes that the process is to stay below; None: no bound was given."""
    expected: int | None = None
    """Bytes that it is expected to reach at most; None where there is no bound."""

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, bound: int | None = None, images: int | None = None
    ) -> "Budget":
        """As much at once as is fast and stays below `bound` bytes; `images`, where they are given.

        The bound is on the memory of the process; on a GPU, on what PyTorch holds there. Takes the
        time of one forward pass of an image; with a bound, of some five.

        Raises:
            HeadscopeError: not even one ablation of one image fits.
        """
        fast = max(1, ELEMENTS_AT_ONCE // _widest(checkpoint))
        n_heads = sum(checkpoint.n_heads)
        least = images or 1
        if images is None:
            images, variants = max(1, fast // n_heads), min(fast, n_heads)
        else:
            variants = max(1, min(fast // images, n_heads))
        if bound is None:
            return cls(images, variants)
        need = _measure(checkpoint)
        if bound < need.peak(least, 1):
            count = "one image" if least == 1 else f"{least} images"
            raise HeadscopeError(
                f"{checkpoint.name} needs {show_bytes(need.peak(least, 1))} for {count} of "
                f"{'×'.join(map(str, checkpoint.preprocessing.size[::-1]))} px, and the memory "
                f"is bounded to {show_bytes(bound)}. Allow more, or choose a smaller input."
            )
        # Images first: many ablations of one image share its clean pass.
        while images > least and need.peak(images, variants) > bound:
            images -= 1
        while need.peak(images, variants) > bound:
            variants -= 1
        return cls(images, variants, bound, need.peak(images, variants))

    def describe(self) -> str:
        """One line for people."""
        text = f"{self.images_at_once} image(s) with {self.variants_at_once} ablations at once"
        if self.bound is None or self.expected is None:
            return text
        return f"{text}: at most {show_bytes(self.expected)} of {show_bytes(self.bound)}"


@dataclass(frozen=True)
class _Need:
    """Bytes."""

    held: int
    """What the process holds before it begins, weights among them."""
    clean: int
    variant: int

    def peak(self, images: int, variants: int) -> int:
        return int(self.held + HEADROOM + SLACK * images * (self.clean + variants * self.variant))


def _example(checkpoint: Checkpoint) -> Tensor:
    preprocessing = checkpoint.preprocessing
    pixels = torch.zeros(1, len(preprocessing.mean), *preprocessing.size)
    return pixels.to(next(checkpoint.model.parameters()))


def _widest(checkpoint: Checkpoint) -> int:
    """Numbers in the head outputs of one image's largest layer."""
    sizes: list[int] = []
    watch(checkpoint, _example(checkpoint), lambda layer: sizes.append(layer.head_output.numel()))
    return max(sizes)


def _measure(checkpoint: Checkpoint) -> _Need:
    maps: list[int] = []

    def look(layer: LayerAttention) -> None:
        maps.append(_size(layer.weights))

    with checkpoint.lock, torch.inference_mode(), _LiveBytes() as live:
        replay = Replay(checkpoint, _example(checkpoint), look)
        # A metric of attention makes a few maps of its own out of a layer's, in float64.
        clean, kept = live.peak + 8 * max(maps), live.now
        heads = replay.heads(0)[None]
        _ = replay.resume(0, heads)  # rounded weights are made at the first time
        once = live.now - kept
        peaks = []
        for n_variants in (1, 2):
            live.peak = live.now
            layer_output, _ = replay.resume(0, heads.repeat(n_variants, *[1] * (heads.dim() - 1)))
            peaks.append(live.peak - once)
    # A metric of importance compares the layer's outputs in float64, by way of copies.
    variant = peaks[1] - peaks[0] + 6 * _size(layer_output) // 2
    # What does not grow with the variants goes with the image.
    return _Need(_held(checkpoint) + once, max(clean, 2 * peaks[0] - peaks[1]), variant)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _held(checkpoint: Checkpoint) -> int:
    """Bytes that the process has now; on a GPU, that PyTorch has there."""
    if checkpoint.device.type == "cuda":
        return torch.cuda.memory_reserved(checkpoint.device)
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmRSS:\s*(\d+) kB", status.read_text())
        if found is not None:
            return int(found.group(1)) * 1024
    # Where the system does not say: the weights, and an interpreter with its libraries.
    return 700_000_000 + sum(_size(weight) for weight in checkpoint.model.parameters())


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that were made while it lasts and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        given = {id(x.untyped_storage()) for x in tree_leaves(args) if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage(), given)
        return result

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, n_bytes = id(storage), storage.nbytes()
        if key in self._known or key in given:  # a view, or a result in place
            return
        self._known.add(key)
        self.now += n_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, n_bytes)

    def _release(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.now -= n_bytes
