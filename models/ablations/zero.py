"""Nothing in a head's place."""

from typing import final

from torch import Tensor

from ..capture import LayerAttention
from .base import HeadAblation
from .reference import StandIns


@final
class Zero(HeadAblation):
    """The head's output is 0. Off what the later layers ever saw, so it may overstate a head whose
    output hardly depends on the image: compare `mean`. Michel et al., "Are Sixteen Heads Really
    Better than One?" (2019), equation 2.
    """

    forms = ("zero",)

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        del head, stand_ins
        return clean.head_output.new_zeros(())
