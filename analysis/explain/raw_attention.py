"""Attention as it is, of one layer."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.layers import Layer
from ...models.layout import PATCH, AttentionLayout
from .base import Answer, Option, Question, explanation
from .places import beside, by_token, has_cells, on_grid


def _why_not(checkpoint: Checkpoint) -> str:
    if any(has_cells(layer.layout.keys) for layer in checkpoint.layers):
        return ""
    return "none of its layers attends to patches on a grid."


@explanation(
    long_name="Raw attention",
    signed=False,
    of_target=False,
    why_not=_why_not,
    layer=Option("Layer whose attention is shown; none: the last that attends to patches", least=0),
    head=Option("Head of that layer; none: the mean of its heads", least=0),
)
def raw_attention(
    question: Question, *, layer: int | None = None, head: int | None = None
) -> Answer:
    """A_c,j: the share of its attention that the class token gives to patch j, in one layer.
    Without a class token, that of the query of a pooling, or the mean over the patches that attend
    (in windows: each in its own). What a head looks at is not yet what the output owes to it (Jain
    and Wallace, "Attention is not Explanation", 2019): compare `relevance`. With talking heads,
    maps are those of the softmax, before heads are mixed.
    """
    checkpoint = question.checkpoint
    shown = _layer(checkpoint, layer)
    if head is not None:
        checkpoint.check_head(shown.index, head)
    grid, parts = shown.layout.keys.grid, dict[int, np.ndarray]()

    def see(attention: LayerAttention) -> None:
        if has_cells(attention.keys) and attention.keys.grid == grid:
            parts[attention.layer] = on_grid(_row(attention), attention.keys)
        attention.forget_maps()

    watch(checkpoint, question.batch, see)
    of_layer = parts[shown.index]
    which = "mean of heads" if head is None else f"head {head}"
    return Answer(
        of_layer.mean(1) if head is None else of_layer[:, head],
        where=f"{shown.module}, {_words(shown)}, {which}",
        heads=beside(checkpoint, parts, len(question.batch), grid),
    )


def _layer(checkpoint: Checkpoint, index: int | None) -> Layer:
    there = [layer for layer in checkpoint.layers if has_cells(layer.layout.keys)]
    if index is None:
        return there[-1]
    checkpoint.check_head(index, 0)
    if checkpoint.layers[index] not in there:
        known = ", ".join(str(layer.index) for layer in there)
        raise HeadscopeError(
            f"Layer {index} of {checkpoint.name} attends to no patches on a grid; these do: "
            f"{known}."
        )
    return checkpoint.layers[index]


def _asker(layer: Layer) -> str:
    """The kind of the tokens whose attention is shown."""
    kinds = layer.layout.queries.present_kinds
    return next((kind for kind in ("class", "query", PATCH) if kind in kinds), kinds[0])


def _words(layer: Layer) -> str:
    words = {"class": "the class token's", "query": "the pooling query's", PATCH: "patches' mean"}
    return words.get(_asker(layer), f"{_asker(layer)} tokens'")


def _row(attention: LayerAttention) -> Float[Tensor, "image head token"]:
    """Of the asking tokens together, the mean over them."""
    rows = [
        _of_windows(image.window_weights, image.layout, _asker(attention.of))
        for image in attention.images
    ]
    return torch.cat(rows)


def _of_windows(
    weights: Float[Tensor, "image window head query key"], layout: AttentionLayout, kind: str
) -> Float[Tensor, "image head token"]:
    of_kind = np.append(np.array(layout.queries.kinds) == kind, [False])[layout.query_tokens]
    asks = torch.from_numpy(of_kind).to(weights)
    summed = torch.einsum("wq,iwhqk->iwhk", asks, weights)
    return by_token(summed, layout.key_tokens, layout.keys.n_tokens) / asks.sum()
