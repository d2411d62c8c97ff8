"""The model's output without several heads at once, exactly, for many head sets in few passes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...models.ablations import HeadStatistics, ablation
from ...models.ablations.base import DONORS
from ...models.checkpoint import Checkpoint
from ...models.interception import AttentionCall, intercept
from .budget import ELEMENTS_AT_ONCE

Head = tuple[int, int]
"""`(layer, head)`, both from 0."""
Heads = frozenset[Head]


def joint_outputs(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel height width"],
    sets: Sequence[Iterable[Head]],
    *,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
) -> Float[Tensor, "set image output"]:
    """The model's output (logits or features) with each set of heads removed as one.

    The same numbers as `ablate(checkpoint, heads, …)` and a whole forward pass for each set, up to
    the order of sums. Several sets share a pass, and within it every layer's work up to which they
    are equal. The empty set gives the clean output.

    Args:
        checkpoint: from `load`.
        batch: ready for the model.
        sets: heads to remove as one.
        mode: the ablation.
        reference: from `hs.reference`, for modes that compare with other images.

    Raises:
        HeadscopeError: a head that the checkpoint does not have, an unknown mode, one that says
            nothing about the layer of a head, or one without the reference that it needs.
    """
    return JointRun(checkpoint, batch, mode=mode, reference=reference).outputs(sets)


class JointRun:
    """One batch of images whose head sets are evaluated again and again."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        batch: Float[Tensor, "image channel height width"],
        *,
        mode: str = "zero",
        reference: HeadStatistics | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self._ablation = ablation(mode)
        self._ablation.check_reference(checkpoint, reference)
        self._stand_ins = None if reference is None else reference.of(batch)
        self._batch = batch
        self._layouts = checkpoint.routed_layouts(batch)
        self._blocks = checkpoint.family.blocks(checkpoint.model) or ()
        self._block_of = _block_of_layers(checkpoint, self._blocks)
        self._shares = bool(self._blocks)

    @cached_property
    def clean(self) -> Float[Tensor, "image output"]:
        """The model's output with all heads."""
        return self.checkpoint.run(self._batch)

    def outputs(self, sets: Sequence[Iterable[Head]]) -> Float[Tensor, "set image output"]:
        """The model's output with each set removed; see `joint_outputs`. Equal sets run once."""
        asked = [frozenset(heads) for heads in sets]
        if not asked:
            return self.clean.new_empty((0, *self.clean.shape))
        for layer, head in frozenset().union(*asked):
            self.checkpoint.check_head(layer, head)
            self._ablation.check_fits(self.checkpoint, [layer])
        found = {} if all(asked) else {frozenset[Head](): self.clean}
        # Sets that are equal in their first layers stand side by side, to share those layers.
        to_run = sorted({heads for heads in asked if heads}, key=self._path)
        size = max(1, ELEMENTS_AT_ONCE // (len(self._batch) * elements_of_image(self.checkpoint)))
        for start in range(0, len(to_run), size):
            chunk = to_run[start : start + size]
            found |= zip(chunk, self._run(chunk), strict=True)
        return torch.stack([found[heads] for heads in asked])

    def _path(self, heads: Heads) -> list[list[int]]:
        """What a set removes, layer by layer."""
        return [_of_layer(layer, heads) for layer in range(self.checkpoint.n_layers)]

    def _run(self, sets: Sequence[Heads]) -> Float[Tensor, "set image output"]:
        """One forward pass of the images under every set."""
        if self._shares:
            try:
                return self._pass(self._batch, _Growth(len(self._batch), self._stages(sets)))
            except _CannotGrowError:
                self._shares = False
        repeated = self._batch.repeat(len(sets), *[1] * (self._batch.dim() - 1))
        return self._pass(repeated, _Growth(len(self._batch), [sets]))

    def _stages(self, sets: Sequence[Heads]) -> list[Sequence[Heads]]:
        """What of each set is removed before any block, and when each block has run."""
        return [
            [frozenset(h for h in heads if self._block_of[h[0]] <= block) for heads in sets]
            for block in range(-1, len(self._blocks))
        ]

    def _pass(self, batch: Tensor, growth: "_Growth") -> Tensor:
        layers = {layer for heads in growth.stages[-1] for layer, _ in heads}

        def on_call(call: AttentionCall) -> Tensor | None:
            layer = self.checkpoint.layer_of.get(call.site, -1)
            return self._without(call, layer, growth.now) if layer in layers else None

        if self._stand_ins is not None and DONORS in self._ablation.needs:
            _ = self._stand_ins.donors  # they run through the same model: not amid this pass
        with (
            self.checkpoint.lock,
            growth.on(self._blocks),
            intercept(self.checkpoint.model, on_call),
        ):
            output = self.checkpoint.run(batch)
        return output.unflatten(0, (len(growth.now), -1))

    def _without(
        self, call: AttentionCall, layer: int, sets: Sequence[Heads]
    ) -> Float[Tensor, "*lead query channel"]:
        """What a call gives where each set's part of the batch has lost that set's heads."""
        outputs = []
        for index, heads in enumerate(sets):
            part, chosen = call.part(index, len(sets)), _of_layer(layer, heads)
            outputs.append(
                self._ablation.raw_output(
                    self.checkpoint.layers[layer],
                    part,
                    chosen,
                    self._stand_ins,
                    self._layouts.get(layer),
                )
                if chosen
                else part.output
            )
        return torch.cat(outputs)


class _CannotGrowError(Exception):
    """A block may take more than the hidden state that belongs to single images."""


@dataclass
class _Growth:
    """The batch of a pass grows where head sets part: images times the sets that differ so far."""

    n_images: int
    stages: Sequence[Sequence[Heads]]
    """What of each set is removed before any block, and when each has run; the last are the sets.
    One stage alone where nothing grows."""

    def __post_init__(self) -> None:
        self.now = _different(self.stages[0])
        """The sets that the batch stands for, set by set all images."""

    @contextmanager
    def on(self, blocks: Sequence[nn.Module]) -> Iterator[None]:
        """Hooks on the blocks that make the hidden state grow."""
        with ExitStack() as stack:
            for block, before, after in zip(blocks, self.stages, self.stages[1:], strict=False):
                if _different(before) != _different(after):
                    grow = self._grow(before, after)
                    handle = block.register_forward_pre_hook(grow, with_kwargs=True)
                    stack.callback(handle.remove)
            yield

    def _grow(self, before: Sequence[Heads], after: Sequence[Heads]) -> Callable[..., Any]:
        place = {heads: index for index, heads in enumerate(_different(before))}
        came_of = dict(zip(after, before, strict=True))
        parents = [place[came_of[heads]] for heads in _different(after)]
        # A tensor of one image serves all sets: what it came of was the same for all.
        sizes = {len(_different(stage)) * self.n_images for stage in self.stages} - {1}

        def grow(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            hidden = args[0] if args else None
            if not isinstance(hidden, Tensor) or len(hidden) != len(place) * self.n_images:
                raise _CannotGrowError
            for other in (*args[1:], *kwargs.values()):
                if isinstance(other, Tensor) and other.dim() and len(other) in sizes:
                    raise _CannotGrowError
            self.now = _different(after)
            grown = hidden.unflatten(0, (len(place), -1))[parents].flatten(0, 1)
            return (grown, *args[1:]), kwargs

        return grow


def _different(sets: Sequence[Heads]) -> list[Heads]:
    return list(dict.fromkeys(sets))


def _of_layer(layer: int, heads: Heads) -> list[int]:
    return sorted(head for of_layer, head in heads if of_layer == layer)


def _block_of_layers(checkpoint: Checkpoint, blocks: Sequence[nn.Module]) -> list[int]:
    """The index of the block that holds each layer; pooling comes with the last."""
    name_of = {id(module): name for name, module in checkpoint.model.named_modules()}
    names = [name_of[id(block)] for block in blocks]
    return [
        next(
            (i for i, name in enumerate(names) if layer.module.startswith(f"{name}.")),
            len(names) - 1,
        )
        for layer in checkpoint.layers
    ]


def elements_of_image(checkpoint: Checkpoint) -> int:
    """Numbers in the widest hidden state of one image."""
    return max(reading.channels * reading.queries for reading in checkpoint.report.layers)
