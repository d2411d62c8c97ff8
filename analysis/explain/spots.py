"""The place in a model whose patches a map of activations is read from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.interception import of_this_pass, without_fast_path
from ...models.layout import PATCH
from .base import Option, Question
from .dependence import Dependence, Spot, dependence
from .places import grids_beside, has_cells

LAYER = Option("Layer whose patches are read; none: the last that has any for the output", least=0)


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of a spot, as images of channels, and the score that goes on from them."""

    spot: Spot
    module: nn.Identity
    """They go through it: what it gives is `image channel row column`."""
    score: Callable[[Tensor], Tensor]
    """Of a batch: the target's number for each image, through `module`."""


def why_no_spot(checkpoint: Checkpoint) -> str:
    """Why there are no patches to be read, in a sentence; empty where there are."""
    if _best(checkpoint) is not None:
        return ""
    return "no block gives, and no attention is given, patches on which its output depends."


def spot_of(checkpoint: Checkpoint, layer: int | None) -> Spot:
    """Where a layer's patches are read: what its block gives or, where the output does not depend
    on those, what its attention is given.

    Without a layer: what the last block gives of which the output depends on the patches alone;
    where other tokens have a part throughout (a class token), or several grids are beside each
    other, the last patches on which it depends.

    Raises:
        HeadscopeError: there is no such layer, or the output does not depend on its patches.
    """
    if layer is None:
        best = _best(checkpoint)
        assert best is not None
        return best
    checkpoint.check_head(layer, 0)
    found = dependence(checkpoint)
    spot = _of_layer(found, layer)
    if spot is None:
        known = ", ".join(
            str(i) for i in range(checkpoint.n_layers) if _of_layer(found, i) is not None
        )
        raise HeadscopeError(
            f"The output of {checkpoint.name} does not depend on patches of layer {layer}; of "
            f"these it does: {known}."
        )
    return spot


def notes_on(checkpoint: Checkpoint, spot: Spot) -> tuple[str, ...]:
    """What a reader must know of a map that is read there."""
    beside = grids_beside(checkpoint.layers)
    if not beside:
        return ()
    named = ", ".join(f"{rows}×{columns}" for rows, columns in beside)
    rows, columns = spot.rows.layout.grid
    return (
        f"The model works on several grids side by side ({named}); this map is of {rows}×{columns} "
        "patches alone. Choose a layer of another grid to see its.",
    )


@contextmanager
def patches_of(question: Question, spot: Spot) -> Iterator[Patches]:
    """Lead the patches of a spot through a module of their own while the context lasts."""
    checkpoint, layout = question.checkpoint, spot.rows.layout
    patches = layout.tokens(PATCH)
    index = torch.from_numpy(patches)
    through = nn.Identity()

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        leaves, form = tree_flatten(output)
        at = next(i for i, leaf in enumerate(leaves) if _is_features(leaf))
        rows = spot.rows.take(leaves[at])[:, index.to(leaves[at].device)]
        images = through(rows.transpose(1, 2).unflatten(2, layout.grid))
        back = images.flatten(2).transpose(1, 2)
        leaves[at] = spot.rows.put(leaves[at], patches, back)
        return tree_unflatten(leaves, form)

    def score(batch: Tensor) -> Tensor:
        return question.target.score(checkpoint.readout(checkpoint.model(batch)))

    module = checkpoint.model.get_submodule(spot.module)
    with checkpoint.lock, torch.inference_mode(mode=False), without_fast_path():
        handle = module.register_forward_hook(of_this_pass(hook))
        try:
            yield Patches(spot, through, score)
        finally:
            handle.remove()


def activations_and_slopes(
    question: Question, spot: Spot
) -> tuple[Float[Tensor, "image channel row column"], Float[Tensor, "image channel row column"]]:
    """The patches of a spot and the derivative of each image's score by them."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        seen.append(output if output.requires_grad else output.detach().requires_grad_())
        return seen[-1]

    with patches_of(question, spot) as patches, torch.enable_grad():
        patches.module.register_forward_hook(keep)  # goes with the module
        score = patches.score(question.batch)
        (slopes,) = torch.autograd.grad(score.sum(), seen)
    return seen[0].detach(), slopes


def _is_features(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _of_layer(found: Dependence, layer: int) -> Spot | None:
    for spot in (found.made[layer], found.given[layer]):
        if spot is not None and PATCH in spot.kinds and has_cells(spot.rows.layout):
            return spot
    return None


def _best(checkpoint: Checkpoint) -> Spot | None:
    found = dependence(checkpoint)
    there = [_of_layer(found, layer) for layer in reversed(range(checkpoint.n_layers))]
    spots = [spot for spot in there if spot is not None]
    alone = [spot for spot in spots if spot in found.made and spot.kinds == {PATCH}]
    if grids_beside(checkpoint.layers):
        alone = []  # what depends on one grid's patches alone leaves out the others'
    return next(iter(alone or spots), None)
