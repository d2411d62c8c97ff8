"""Attention multiplied through the layers."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention, watch
from .base import Answer, Option, Question, explanation
from .columns import TokenColumn, carry_down, check_first, column_of, why_no_column
from .places import on_grid

_FUSIONS = {
    "mean": lambda maps: maps.mean(1),
    "max": lambda maps: maps.amax(1),
    "min": lambda maps: maps.amin(1),
}

FUSION = Option("How the heads of a layer are made one map", choices=tuple(_FUSIONS))
DISCARD = Option(
    "Share of a layer's weights set to 0, the smallest first; never those to the class token",
    least=0,
    most=0.99,
)
START = Option("First layer of the product; those before it are left out", least=0)


@explanation(
    long_name="Attention rollout",
    signed=False,
    of_target=False,
    why_not=why_no_column,
    fusion=FUSION,
    discard_ratio=DISCARD,
    start=START,
)
def rollout(
    question: Question, *, fusion: str = "mean", discard_ratio: float = 0.0, start: int = 0
) -> Answer:
    """Â_L ⋯ Â_1 with Â = (A + I) / 2, A the layer's map with its heads made one (mean, max or min)
    and I the residual; rows are divided by their sums. Shown is the row of the class token, or the
    mean row of the tokens that the output reads: the share of what reaches it that came from each
    patch, were tokens mixed by attention alone. It is the same for every class. A pooling at the
    end has no residual; layers side by side in a block count by their mean. Abnar and Zuidema,
    "Quantifying Attention Flow in Transformers" (2020), section 3; max, min and discarding are
    Gildenblat's (vit-explain, 2020).
    """
    column = column_of(question.checkpoint)
    check_first(question.checkpoint, start)
    maps: dict[int, Tensor] = {}

    def see(attention: LayerAttention) -> None:
        fused = _FUSIONS[fusion](attention.weights)
        maps[attention.layer] = discard(fused, column, attention.layer, discard_ratio)
        attention.forget_maps()

    watch(question.checkpoint, question.batch, see)
    row = carry_down(column, maps, row_sums=True, first=start)
    return Answer(on_grid(row, column.tokens), where=column.words)


def discard(
    maps: Float[Tensor, "image query key"], column: TokenColumn, layer: int, ratio: float
) -> Float[Tensor, "image query key"]:
    """Each image's smallest weights set to 0, but for those to class tokens."""
    n = int(ratio * maps[0].numel())
    if not n:
        return maps
    smallest = maps.flatten(1).argsort(dim=1, stable=True)[:, :n]
    kept = torch.ones_like(maps.flatten(1)).scatter(1, smallest, 0).view_as(maps)
    kinds = [column.tokens.kinds[token] for token in column.keys[layer]]
    to_class = torch.tensor([kind == "class" for kind in kinds], device=maps.device)
    return maps * torch.where(to_class, torch.ones_like(kept), kept)
