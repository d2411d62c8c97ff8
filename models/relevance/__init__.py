"""Layer-wise relevance propagation through any model, by our own rules: no module is named."""

from .ledger import Ledger
from .propagation import Relevance, relevance_of
from .rules import Rules, propagate

__all__ = ["Ledger", "Relevance", "Rules", "propagate", "relevance_of"]
