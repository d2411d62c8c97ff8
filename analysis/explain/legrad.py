"""How each layer's own reading of the image moves with its attention."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...models.checkpoint import Checkpoint
from ...models.column import Column
from ...models.interception import (
    AttentionCall,
    Site,
    intercept,
    of_this_pass,
    without_fast_path,
)
from ...models.layers import LayerAttention
from .base import Answer, Question, explanation
from .columns import column_of, why_no_column
from .places import beside, on_grid


def _why_not(checkpoint: Checkpoint) -> str:
    reason = why_no_column(checkpoint)
    if reason:
        return reason
    if checkpoint.family.blocks(checkpoint.model) is None or not Column.fits(checkpoint):
        return (
            "it is not known how its classifier would read a layer in the middle; that is known of "
            "timm's ViT and its kin."
        )
    return ""


@explanation(long_name="LeGrad", signed=False, why_not=_why_not)
def legrad(question: Question) -> Answer:
    """Σ_l mean over heads and queries of (∂s_l/∂A_l)⁺ at each patch as key, where s_l is the
    target's score if the model's own norm, pooling and classifier read what block l gives. So every
    layer answers for itself, through no later one. 0 or more; its parts by head sum to it. Where
    the model pools by attention, A_l is the map with which it would pool what block l gives, and no
    head of the blocks has a part. Bousselham et al., "LeGrad" (2024), section 3, before the scaling
    to 0…1.
    """
    checkpoint, column = question.checkpoint, column_of(question.checkpoint)
    pooling = [layer.index for layer in checkpoint.layers if layer.kind == "pooling"]
    slopes = _slopes_of_pooling(question, pooling[0]) if pooling else _slopes_of_blocks(question)
    parts = []
    for layer, slope in slopes:
        kept = slope.double().clamp_min(0).mean(2) / slope.shape[1]
        by_token = kept.new_zeros(*kept.shape[:2], column.tokens.n_tokens)
        by_token[..., torch.from_numpy(column.keys[layer]).to(kept.device)] = kept
        parts.append((layer, on_grid(by_token, column.tokens)))
    grid = column.tokens.grid
    heads = None if pooling else beside(checkpoint, dict(parts), len(question.batch), grid)
    return Answer(
        np.sum([part.sum(1) for _, part in parts], axis=0),
        where="what each block gives, read as if it were the last",
        heads=heads,
    )


def _slopes_of_blocks(
    question: Question,
) -> list[tuple[int, Float[Tensor, "image head query key"]]]:
    """By layer, ∂s_l/∂A_l: one forward and one backward pass."""
    checkpoint, seen = question.checkpoint, _Seen(question.checkpoint)
    with _gradients(checkpoint), torch.enable_grad():
        with intercept(checkpoint.model, seen.on_call):
            given = _run_blocks(question, apart=True)
        scores = [question.target.score(_tail(checkpoint, hidden)) for hidden in given]
        slopes = seen.slopes(torch.stack(scores).sum())
    return [(layer, maps) for layer, maps in slopes.items()]


def _slopes_of_pooling(
    question: Question, pooling: int
) -> list[tuple[int, Float[Tensor, "image head query key"]]]:
    """The same by the map of the pooling at the end, for each block that it may pool from."""
    checkpoint, slopes = question.checkpoint, []
    with _gradients(checkpoint):
        with torch.no_grad():
            given = _run_blocks(question, apart=False)
        for hidden in given:
            seen = _Seen(checkpoint)
            with torch.enable_grad(), intercept(checkpoint.model, seen.on_call):
                score = question.target.score(_tail(checkpoint, hidden))
                slopes.append((pooling, seen.slopes(score.sum())[pooling]))
    return slopes


class _Seen:
    """Attention maps that a score is to be differentiated by."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._calls: dict[Site, AttentionCall] = {}

    def on_call(self, call: AttentionCall) -> Tensor | None:
        if call.site not in self._checkpoint.layer_of:
            return None
        weights = call.weights
        if not weights.requires_grad:
            weights = weights.detach().requires_grad_()
        self._calls[call.site] = AttentionCall(
            call.site, call.value.detach(), output=lambda: call.value, weights=lambda: weights
        )
        return weights.to(call.value.dtype) @ call.value

    def slopes(self, score: Tensor) -> dict[int, Float[Tensor, "image head query key"]]:
        """The derivative of a number by each layer's maps; 0 where it does not depend on them."""
        weights = [call.weights for call in self._calls.values()]
        found = torch.autograd.grad(score, weights, allow_unused=True)
        slope_of = {
            site: torch.zeros_like(map_) if slope is None else slope
            for site, map_, slope in zip(self._calls, weights, found, strict=True)
        }
        return {
            layer.index: LayerAttention(
                layer, [self._with(site, slope_of[site]) for site in layer.sites]
            ).mixed_weights
            for layer in self._checkpoint.layers
            if layer.sites[0] in slope_of
        }

    def _with(self, site: Site, slope: Tensor) -> AttentionCall:
        value = self._calls[site].value
        return AttentionCall(site, value, output=lambda: value, weights=lambda: slope)


def _gradients(checkpoint: Checkpoint) -> ExitStack:
    """The model is this thread's, and may be differentiated."""
    stack = ExitStack()
    for context in (checkpoint.lock, torch.inference_mode(mode=False), without_fast_path()):
        stack.enter_context(context)
    return stack


def _run_blocks(question: Question, *, apart: bool) -> list[Tensor]:
    """What each block gives; `apart`: no derivative goes from one to the one before."""
    model, given = question.checkpoint.model, list[Tensor]()

    def cut(_block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].detach(), *args[1:]) if apart else args

    def keep(_block: nn.Module, _args: Any, output: Tensor) -> None:
        given.append(output)

    with ExitStack() as stack:
        for block in question.checkpoint.family.blocks(model) or ():
            stack.callback(block.register_forward_pre_hook(of_this_pass(cut)).remove)
            stack.callback(block.register_forward_hook(of_this_pass(keep)).remove)
        model(question.batch)
    return given


def _tail(checkpoint: Checkpoint, hidden: Tensor) -> Float[Tensor, "image output"]:
    return checkpoint.family.tail(checkpoint.model, hidden)
