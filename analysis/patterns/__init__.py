"""What heads' maps look like: learned, grouped, named."""

from .fitting import fit_patterns
from .maps import PatternMaps, join
from .result import Cluster, HeadPatterns, Patterns, Projected
from .stability import Stability, measure_stability
from .storage import has_patterns, open_patterns

__all__ = [
    "Cluster",
    "HeadPatterns",
    "PatternMaps",
    "Patterns",
    "Projected",
    "Stability",
    "fit_patterns",
    "has_patterns",
    "join",
    "measure_stability",
    "open_patterns",
]
