"""Activations weighed by their mean derivative."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.gradients import LayerGradient, attention_gradients
from .base import Answer, Option, Question, explanation
from .places import beside, by_token, has_cells, on_grid
from .spots import LAYER, notes_on, patches_of, spot_of, why_no_spot

RELU = Option("Keep what speaks for the target only, as in the paper", choices=(False, True))


@explanation(
    long_name="Grad-CAM",
    signed=True,
    why_not=why_no_spot,
    layer=LAYER,
    relu=RELU,
    by_head=Option("Also the parts of every head: one more pass", choices=(False, True)),
)
def grad_cam(
    question: Question, *, layer: int | None = None, relu: bool = False, by_head: bool = True
) -> Answer:
    """Σ_c α_c F_c at each patch, F the patches' features at one place of the model and α_c the mean
    over patches of ∂S/∂F_c: negative where a patch speaks against the target. The place is what the
    last block gives where all that is read goes through its patches; with a class token, of which
    the last block's patches have no way to the output, what that block's attention is given (its
    norm). Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2, computed by captum's
    `LayerGradCam`; the paper keeps positive values only (`relu`). Maps by head have no pooling and
    no choice of a place: Σ_i A_ij ∂S/∂A_ij, what head h carries from patch j, in every layer with
    patches of that grid; over all tokens j they sum to the head's output times its derivative.
    """
    from captum.attr import LayerGradCam

    checkpoint = question.checkpoint
    spot = spot_of(checkpoint, layer)
    with patches_of(question, spot) as patches:
        made: Any = LayerGradCam(patches.score, patches.module).attribute(
            question.batch, relu_attributions=relu
        )
    grid = spot.rows.layout.grid
    return Answer(
        made[:, 0].detach().double().cpu().numpy(),
        where=spot.module,
        heads=_heads(question, grid) if by_head else None,
        notes=notes_on(checkpoint, spot),
    )


def _heads(
    question: Question, grid: tuple[int, int]
) -> Float[np.ndarray, "image layer head row column"] | None:
    found = attention_gradients(question.checkpoint, question.batch, question.target.score)
    parts = {}
    for layer in found.layers:
        keys = layer.attention.keys
        if has_cells(keys) and keys.grid == grid:
            parts[layer.layer] = on_grid(_carried(layer), keys)
    return beside(question.checkpoint, parts, len(question.batch), grid) if parts else None


def _carried(layer: LayerGradient) -> Float[Tensor, "image head token"]:
    """Σ over queries of A ∂S/∂A: what each head carries from each key."""

    def of_image(attention: LayerAttention, gradient: LayerAttention) -> Tensor:
        given = (attention.window_weights * gradient.window_weights).sum(3)
        return by_token(given, attention.layout.key_tokens, attention.layout.keys.n_tokens)

    pairs = zip(layer.attention.images, layer.gradient.images, strict=True)
    return torch.cat([of_image(attention, gradient) for attention, gradient in pairs])
