"""What can take the place of a head's output, one kind per file; a file registers itself."""

from .base import Ablation, HeadAblation, ablation, ablations, layouts_of
from .reference import HeadStatistics, StandIns, reference

__all__ = [
    "Ablation",
    "HeadAblation",
    "HeadStatistics",
    "StandIns",
    "ablation",
    "ablations",
    "layouts_of",
    "reference",
]
