"""Per-head attention metrics, one per file; a file registers itself."""

from .base import AttentionMetric, attention_metric, attention_metrics

__all__ = ["AttentionMetric", "attention_metric", "attention_metrics"]
