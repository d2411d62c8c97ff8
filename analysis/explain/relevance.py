"""Relevance of tokens by attention and its derivative."""

from ...models.gradients import attention_gradients
from .base import Answer, Question, explanation
from .columns import carry_down, column_of, share_among_heads, why_no_column
from .places import beside, on_grid


@explanation(long_name="Relevance (Chefer)", signed=False, why_not=why_no_column)
def relevance(question: Question) -> Answer:
    """R ← R + Ā R from the first layer to the last, R = I before it, with Ā = E_h[(∂S/∂A ⊙ A)⁺]
    over heads. Shown is the row of the class token in R − I, or the mean row of the tokens that the
    output reads: 0 or more; what spoke for the target, through all layers. (Taking off I changes
    nothing in a class token's row, and the same in each patch of a mean row.) Its parts by head:
    the map is a sum over paths through heads, and each path is shared equally by the heads that it
    passes. Chefer, Gur and Wolf, "Generic Attention-model Explainability" (ICCV 2021), equations 5
    and 6; the row of a pooling at the end is Ā R. Layers side by side in a block are added up.
    """
    column = column_of(question.checkpoint)
    found = attention_gradients(question.checkpoint, question.batch, question.target.score)
    heads = {}
    for layer in found.layers:
        spoke_for = (layer.attention.mixed_weights * layer.gradient.mixed_weights).clamp_min(0)
        # Twice the precision: from layer to layer little is added to much.
        heads[layer.layer] = spoke_for.double() / spoke_for.shape[1]
    row = carry_down(column, {i: maps.sum(1) for i, maps in heads.items()}, row_sums=False)
    row = row - column.row_read(row, len(row))
    parts = share_among_heads(column, heads)
    return Answer(
        on_grid(row, column.tokens),
        where=column.words,
        heads=beside(
            question.checkpoint,
            {i: on_grid(part, column.tokens) for i, part in parts.items()},
            len(row),
            column.tokens.grid,
        ),
    )
