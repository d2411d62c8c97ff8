"""The converse: what one head does alone."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from ..capture import LayerAttention
from .base import Ablation
from .reference import StandIns


@final
class Keep(Ablation):
    """Only this head stays in its layer, the others' outputs are 0: the less is lost, the more
    of its layer's work the head does alone. Michel et al., "Are Sixteen Heads Really Better than
    One?" (2019), section 3.3.
    """

    forms = ("keep",)
    converse = True

    def edit(
        self,
        heads: Tensor,
        clean: LayerAttention,
        chosen: Sequence[int],
        stand_ins: StandIns | None = None,
    ) -> None:
        del stand_ins
        kept = list(chosen)
        heads.zero_()
        heads[:, kept] = clean.head_output[:, kept]
