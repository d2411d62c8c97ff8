"""Attention weighed by its derivative, multiplied through the layers."""

from ...models.gradients import attention_gradients
from .base import Answer, Question, explanation
from .columns import carry_down, check_first, column_of, why_no_column
from .places import on_grid
from .rollout import DISCARD, START, discard


@explanation(
    long_name="Gradient rollout",
    signed=False,
    why_not=why_no_column,
    discard_ratio=DISCARD,
    start=START,
)
def gradient_rollout(question: Question, *, discard_ratio: float = 0.0, start: int = 0) -> Answer:
    """Rollout of (mean over heads of A ⊙ ∂S/∂A)⁺, the attention that speaks for the target: rows of
    this and the residual I are divided by their sums, and the layers multiplied. It lies in 0…1; as
    rows sum to 1, a target whose score hardly moves with attention leaves almost all to the
    residual. Gildenblat, "Exploring Explainability for Vision Transformers" (2020, vit-explain),
    which divides columns by the sums of rows; we divide rows.
    """
    column = column_of(question.checkpoint)
    check_first(question.checkpoint, start)
    found = attention_gradients(question.checkpoint, question.batch, question.target.score)
    maps = {}
    for layer in found.layers:
        weighed = (layer.attention.mixed_weights * layer.gradient.mixed_weights).double()
        maps[layer.layer] = discard(
            weighed.mean(1).clamp_min(0), column, layer.layer, discard_ratio
        )
    row = carry_down(column, maps, row_sums=True, first=start)
    return Answer(on_grid(row, column.tokens), where=column.words)
