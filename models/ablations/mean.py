"""What a head gives on average in a head's place."""

from typing import final

from torch import Tensor

from ..capture import LayerAttention
from .base import REFERENCE, HeadAblation, bound
from .reference import StandIns


@final
class Mean(HeadAblation):
    """The head's mean output over the images of the reference, token by token and channel by
    channel: what the head says of this image is lost, what it says of every image stays. Wang et
    al., "Interpretability in the Wild" (2022), section 2.1.
    """

    forms = ("mean",)
    needs = frozenset({REFERENCE})

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        return bound(stand_ins).statistics.mean[clean.layer][clean.of.first_head + head]
