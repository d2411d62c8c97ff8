"""Which head of one checkpoint does what which head of another does."""

from .match import match_heads
from .result import HeadMatching, Pair
from .sides import shared_images

__all__ = ["HeadMatching", "Pair", "match_heads", "shared_images"]
