"""Head importance: what leaving one head out changes, exactly and from its layer on.

After the pruning-based head importance of Li et al. (TVCG 2023): four outputs are kept for each
image and head, the layer's and the model's, each with and without the head. A *local* metric
compares the first pair, a *global* one the second.
"""

from . import global_metrics, local_metrics  # noqa: F401 (they register their metrics)
from .metrics import ImportanceMetric, importance_metric, importance_metrics
from .outputs import Outputs
from .scores import head_importance

__all__ = [
    "ImportanceMetric",
    "Outputs",
    "head_importance",
    "importance_metric",
    "importance_metrics",
]
