"""A whole study as one HTML file, which works offline: for the supplement of a paper."""

from .making import MAPS_MB, supplement

__all__ = ["MAPS_MB", "supplement"]
