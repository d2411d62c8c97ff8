"""How widely a head spreads its attention."""

from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .queries import mean_over_queries, n_reachable, row_entropies


@attention_metric(long_name="Entropy of attention", units="nats")
def entropy(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ over all keys j, mean over patch queries i: 0 when each patch looks at one
    token only, ln(number of keys) when it looks at all alike. Over all queries where none is a
    patch (class attention).
    """
    return mean_over_queries(layer, row_entropies(layer))


@attention_metric(long_name="Effective number of keys", units="keys")
def effective_keys(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """exp(−Σⱼ Aᵢⱼ ln Aᵢⱼ) over all keys j, mean over patch queries i (over all queries where none
    is a patch): among how many keys a query spreads its attention, if it gave each the same. 1: one
    token only; the number of keys: all alike. The perplexity of the weights, or Hill's number of
    order 1 (1973): unlike 1/Σⱼ Aᵢⱼ² (order 2) it still counts the many keys that get little.
    """
    return mean_over_queries(layer, row_entropies(layer).exp())


@attention_metric(long_name="Entropy beside its largest value", units="share")
def entropy_share(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ / ln nᵢ, with nᵢ the number of keys that query i may attend to (those of its
    window that no mask forbids), mean over patch queries i (over all queries where none is a
    patch). 0: one token only; 1: all alike, however many there are, so that layers with windows or
    pooled keys can be compared with others. Pielou's evenness (1966). Undefined where a query has
    one key only.
    """
    largest = n_reachable(layer).to(row_entropies(layer).dtype).log()
    return mean_over_queries(layer, row_entropies(layer) / largest[:, :, None])
