"""Noise in a head's place."""

from typing import final

from torch import Tensor

from ..capture import LayerAttention
from .base import REFERENCE, HeadAblation, bound
from .reference import StandIns


@final
class Noise(HeadAblation):
    """Gaussian noise with the mean and the standard deviation of the head's output over the images
    of the reference, for each token and channel by itself: the size is right, what is said is not,
    and channels no longer go together. Seeded by image, layer and head. After the corruption of
    Meng et al., "Locating and Editing Factual Associations in GPT" (2022), who add it to the input.
    """

    forms = ("noise",)
    needs = frozenset({REFERENCE})

    def instead(self, clean: LayerAttention, head: int, stand_ins: StandIns | None) -> Tensor:
        offered, layer = bound(stand_ins), clean.layer
        head += clean.of.first_head
        mean, std = (of[layer][head] for of in (offered.statistics.mean, offered.statistics.std))
        return mean + std * offered.noise(layer, head).to(mean)
