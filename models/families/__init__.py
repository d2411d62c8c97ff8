"""One file per family, for what capture cannot know by itself."""

from .base import Family, family_of

__all__ = ["Family", "family_of"]
