"""Layer-wise relevance of attention maps, weighed by their derivative and carried down."""

import torch

from ...models.gradients import attention_gradients
from ...models.relevance import Ledger, Rules, propagate
from .base import Answer, Question, explanation
from .columns import carry_down, column_of, share_among_heads, why_no_column
from .places import beside, on_grid


@explanation(long_name="Transformer attribution (Chefer, LRP)", signed=False, why_not=why_no_column)
def transformer_attribution(question: Question) -> Answer:
    """C = Ā₁ Ā₂ … with Ā = I + E_h[(∂S/∂A ⊙ R)⁺] over heads, R the layer-wise relevance of the
    attention map A. Shown is the row of the class token in C − I, or the mean row of the tokens
    that the output reads: 0 or more; what spoke for the target. Parts by head as in `relevance`:
    each path through heads is shared equally by those that it passes. Chefer, Gur and Wolf,
    "Transformer Interpretability Beyond Attention Visualization" (CVPR 2021), equations 13 and 14.
    We deviate in R: not the αβ-rule but that of `attn-lrp`, R = A ⊙ ∂̃S/∂A, in which attention and
    values take half each and norms are held constant.
    """
    checkpoint, score = question.checkpoint, question.target.score
    column = column_of(checkpoint)
    slopes = attention_gradients(checkpoint, question.batch, score)
    with torch.inference_mode(mode=False), torch.enable_grad():
        # Of a leaf: in the first layer, too, values come of the image, and take their half.
        batch = question.batch.detach().clone().requires_grad_()
        with propagate(Rules(), Ledger(len(batch))):
            owed = attention_gradients(checkpoint, batch, score)
    heads = {}
    for plain, ruled in zip(slopes.layers, owed.layers, strict=True):
        relevance = plain.attention.mixed_weights * ruled.gradient.mixed_weights
        spoke_for = (plain.gradient.mixed_weights * relevance).clamp_min(0)
        # Twice the precision: from layer to layer little is added to much.
        heads[plain.layer] = spoke_for.double() / spoke_for.shape[1]
    row = carry_down(column, {i: maps.sum(1) for i, maps in heads.items()}, row_sums=False)
    row = row - column.row_read(row, len(row))
    parts = share_among_heads(column, heads)
    return Answer(
        on_grid(row, column.tokens),
        where=column.words,
        heads=beside(
            checkpoint,
            {i: on_grid(part, column.tokens) for i, part in parts.items()},
            len(row),
            column.tokens.grid,
        ),
    )
