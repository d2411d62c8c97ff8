"""One file per family, for what capture cannot know by itself."""

from .base import Family, family_of, readable_modules

__all__ = ["Family", "family_of", "readable_modules"]
