"""Leaving patches out for real: fewer tokens run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .checkpoint import Checkpoint
from .errors import MISFIT, HeadscopeError, first_line

_DIFFERENT = 0.02
"""Of the largest output: bfloat16 rounds by a third of it, and a position in the wrong place does
far more."""


@contextmanager
def keeping(checkpoint: Checkpoint, kept: Int[np.ndarray, "image patch"]) -> Iterator[None]:
    """The model runs on these patches of each image alone, in the order given.

    Tokens are taken as they enter the first block, position embedding and all, so no later layer
    does any work for the others; rotations by position (RoPE) follow their patches. The lock is
    held while the context lasts; `why_not_dropped` says whether a model can do this.
    """
    blocks = checkpoint.family.blocks(checkpoint.model)
    assert blocks is not None, "not a column"
    tokens = checkpoint.layout
    index = torch.from_numpy(kept).to(checkpoint.device)
    others = np.flatnonzero(~tokens.is_patch)
    first = int(np.flatnonzero(tokens.is_patch)[0])
    before, after = (
        torch.from_numpy(some).to(index).expand(len(index), -1)
        for some in (others[others < first], others[others > first])
    )
    rows = torch.cat([before, first + index, after], 1)

    def shorten(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden, *rest = args
        if hidden.shape[1] != tokens.n_tokens:
            raise ValueError(f"a hidden state of {tuple(hidden.shape)} has other tokens")
        return (_take(hidden, rows), *_of_patches(rest, index, tokens.n_patches)), _of_patches(
            kwargs, index, tokens.n_patches
        )

    def follow(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (args[0], *_of_patches(args[1:], index, tokens.n_patches)), _of_patches(
            kwargs, index, tokens.n_patches
        )

    with checkpoint.lock:
        handles = [
            block.register_forward_pre_hook(follow if place else shorten, with_kwargs=True)
            for place, block in enumerate(blocks)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def why_not_dropped(checkpoint: Checkpoint) -> str:
    """Why a model cannot run on some of its patches alone, in a sentence; empty where it can.

    Found out by running it: in another order, the patches must give the same output (so where they
    are is told by what enters the first block, or travels with it), and half of them must run.
    """
    tokens = checkpoint.layout
    where = np.flatnonzero(tokens.is_patch)
    if checkpoint.family.blocks(checkpoint.model) is None:
        return "its tokens do not go through one column of blocks."
    if not len(where) or tokens.scattered is not None or np.ptp(where) + 1 != len(where):
        return "its patches are not one run of tokens."
    if any(
        layer.layout.keys.n_patches != tokens.n_patches or not layer.layout.is_dense
        for layer in checkpoint.layers
    ):
        return "not all of its patches attend to all in every layer."
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2, checkpoint.preprocessing.channels,
                                       *checkpoint.preprocessing.size))  # fmt: skip
    batch = checkpoint.batch(torch.from_numpy(noise).float())
    orders = np.stack([generator.permutation(tokens.n_patches) for _ in batch])
    try:
        plain = checkpoint.run(batch)
        with keeping(checkpoint, orders):
            mixed = checkpoint.run(batch)
        with keeping(checkpoint, orders[:, : -(-tokens.n_patches // 2)]):
            checkpoint.run(batch)
    except (HeadscopeError, *MISFIT) as error:
        return f"it does not run on some of its patches: {first_line(error)}"
    change = float((mixed - plain).abs().max())
    if change > _DIFFERENT * float(plain.abs().max()):
        return "where a patch is depends on its place in the order of tokens."
    return ""


def _of_patches(arguments: Any, index: Tensor, n_patches: int) -> Any:
    """What else a block is given, with rows for the patches that are kept: rotations."""

    def take(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() < 2 or leaf.shape[-2] != n_patches:
            return leaf
        # image head patch channel, as timm has it where patches differ between images
        per_head = leaf if leaf.dim() > 2 else leaf[None]
        return per_head[..., index, :].movedim(-3, 0)

    return tree_map(take, arguments)


def _take(hidden: Tensor, rows: Int[Tensor, "image row"]) -> Tensor:
    return hidden.gather(1, rows[..., None].expand(-1, -1, hidden.shape[-1]))
