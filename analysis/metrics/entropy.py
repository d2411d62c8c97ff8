"""How widely a head spreads its attention."""

from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .queries import mean_over_queries, n_reachable, row_entropies


@attention_metric(long_name="Entropy of attention", units="nats")
def entropy(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ over all keys j, mean over patch queries i (over all queries where none is a
    patch, as in class attention).

    Range: 0 (each patch looks at one token only) to ln(number of keys) (at all alike).
    Reading: how widely a head spreads its attention. Layers with other numbers of keys have another
    largest value: compare them by the share of it.
    Source: Shannon, "A Mathematical Theory of Communication" (1948); of attention heads: Clark et
    al., "What Does BERT Look At?" (2019).
    """
    return mean_over_queries(layer, row_entropies(layer))


@attention_metric(long_name="Effective number of keys", units="keys")
def effective_keys(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """exp(−Σⱼ Aᵢⱼ ln Aᵢⱼ) over all keys j, mean over patch queries i (over all queries where none
    is a patch).

    Range: 1 (one token only) to the number of keys (all alike).
    Reading: among how many keys a query spreads its attention, if it gave each the same. Unlike
    1/Σⱼ Aᵢⱼ² (order 2) it still counts the many keys that get little.
    Source: the perplexity of the weights, or Hill's number of order 1: Hill, "Diversity and
    Evenness" (1973).
    """
    return mean_over_queries(layer, row_entropies(layer).exp())


@attention_metric(long_name="Entropy beside its largest value", units="share")
def entropy_share(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """−Σⱼ Aᵢⱼ ln Aᵢⱼ / ln nᵢ, with nᵢ the number of keys that query i may attend to (those of its
    window that no mask forbids), mean over patch queries i (over all queries where none is a
    patch).

    Range: 0 (one token only) to 1 (all alike, however many there are).
    Reading: layers with windows or pooled keys can be compared with others. Undefined where a query
    has one key only.
    Source: evenness: Pielou, "The Measurement of Diversity" (1966).
    """
    largest = n_reachable(layer).to(row_entropies(layer).dtype).log()
    return mean_over_queries(layer, row_entropies(layer) / largest[:, :, None])
