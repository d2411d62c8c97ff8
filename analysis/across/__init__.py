"""Numbers of all images together, one sort per file; a file registers itself."""

from .base import Across, across_metrics

__all__ = ["Across", "across_metrics"]
