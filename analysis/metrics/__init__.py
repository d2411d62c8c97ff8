"""Metrics of attention per head, and of hidden states per layer; a file registers itself."""

from .base import AttentionMetric, attention_metric, attention_metrics
from .dims import dimension, dimension_named
from .hidden import HiddenMetric, HiddenState, hidden_metric, hidden_metrics

__all__ = [
    "AttentionMetric",
    "HiddenMetric",
    "HiddenState",
    "attention_metric",
    "attention_metrics",
    "dimension",
    "dimension_named",
    "hidden_metric",
    "hidden_metrics",
]
