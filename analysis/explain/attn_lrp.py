"""Layer-wise relevance propagation through attention."""

import torch

from ...models.checkpoint import Checkpoint
from ...models.layout import TokenLayout
from ...models.relevance import Rules, relevance_of
from .base import Answer, Option, Question, explanation

_APART = (
    "Biases, positions, prefix tokens and the softmax are owed a part of the score that is on no "
    "patch: it is the residual, and given by name."
)

_LEAK = 1e-3
"""Share of what is owed that may be lost unsaid: rounding in float32 was seen to lose 4e-6."""


@explanation(
    long_name="Layer-wise relevance (AttnLRP)",
    signed=True,
    level=Option("Cells of the map: patches, or pixels", choices=("patch", "pixel")),
    rule=Option("Rule of linear layers", choices=("epsilon", "gamma")),
    gamma=Option("How much more the contributions count that win, in the γ-rule", least=0.0),
    attention=Option(
        "Whether weights of attention take a part, or the values all",
        choices=("taylor", "constant"),
    ),
)
def attn_lrp(
    question: Question,
    *,
    level: str = "patch",
    rule: str = "epsilon",
    gamma: float = 0.25,
    attention: str = "taylor",
) -> Answer:
    """Hands the score back from layer to layer, each unit in proportion to what it contributed,
    down to the patches: R_i = Σ_j (z_ij / z_j) R_j through linear layers, norms (standard deviation
    held constant) and activations; half to each factor of a product, attention and values among
    them; R_i = x_i (R_i − s_i Σ_j R_j) through the softmax s of x. Positive speaks for the target,
    negative against it, in units of the score. All that is owed (map, biases, positions, prefix
    tokens, the softmax's constant part) sums to the score; the residual is what is not on the map.
    Rules of Achtibat et al. 2024 (AttnLRP); with `attention` constant, of Ali et al. 2022. We let
    ε → 0 where they have a small one, count biases apart and hold gates (sigmoids) constant, as
    Arras et al. 2017.
    """
    rules = Rules(softmax=attention, gamma=gamma if rule == "gamma" else 0.0)
    found = relevance_of(question.checkpoint, question.batch, question.target.score, rules)
    layout = _layout(question.checkpoint) if level == "patch" else None
    if layout is None:
        values, owed, where = found.pixels.sum(1, dtype=torch.float64), found.apart, "pixels"
    else:
        values, owed, where = found.patches(layout)
    values, score = values.double().cpu().numpy(), found.score.double().cpu().numpy()
    apart = {name: amount.cpu().numpy() for name, amount in owed.items()}
    residual = score - values.sum((1, 2))
    notes = [_APART]
    if found.without_rule:
        notes.append(
            f"No rule is about {', '.join(found.without_rule)}: the derivative was taken there."
        )
    gap, size = found.gap()
    lost = float((gap.abs() / size.clamp(min=1e-30)).max())
    if lost > _LEAK:
        notes.append(f"Of what is owed, up to {lost:.1%} is not accounted for.")
    return Answer(values, residual=residual, where=where, notes=tuple(notes), apart=apart)


def _layout(checkpoint: Checkpoint) -> TokenLayout | None:
    """The first tokens that are a grid of patches."""
    sides = (
        tokens
        for layer in checkpoint.layers
        for tokens in (layer.layout.queries, layer.layout.keys)
    )
    return next((t for t in sides if t.n_patches and t.scattered is None), None)
