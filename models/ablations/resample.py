"""Another image's output in a head's place."""

from typing import final

from torch import Tensor

from ..capture import LayerAttention
from .base import DONORS, REFERENCE, HeadAblation, bound
from .reference import StandIns


@final
class Resample(HeadAblation):
    """The same head's output for another image of the reference: as much as a head ever gives, and
    of the wrong image. Which image stands in for which is drawn once, by the seed, and none stands
    in for itself. Chan et al., "Causal Scrubbing" (2022).
    """

    forms = ("resample",)
    needs = frozenset({REFERENCE, DONORS})

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        return bound(stand_ins).donors[clean.layer][:, clean.of.first_head + head]
