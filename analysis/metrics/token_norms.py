"""Sinks as hidden states show them: which token is long, and how far one channel stands out."""

from jaxtyping import Float
from torch import Tensor

from ..sinks.hidden import magnitudes, token_norms
from .hidden import HiddenState, hidden_metric


@hidden_metric(long_name="Largest token norm", units="norm")
def token_norm(hidden: HiddenState) -> Float[Tensor, " image"]:
    """max_t ‖x_t‖₂ over the tokens t after the layer, in the units of the residual stream: read it
    beside the median. Tokens of outlying norm: Darcet et al., "Vision Transformers Need Registers"
    (2024), section 2.1.
    """
    return token_norms(hidden.values)[0]


@hidden_metric(long_name="Median token norm", units="norm")
def token_norm_median(hidden: HiddenState) -> Float[Tensor, " image"]:
    """median_t ‖x_t‖₂ over the tokens t after the layer."""
    return token_norms(hidden.values)[1]


@hidden_metric(long_name="Token of the largest norm", units="token")
def token_norm_token(hidden: HiddenState) -> Float[Tensor, " image"]:
    """argmax_t ‖x_t‖₂: the index among the tokens of the layer's output. An index: means over
    images say nothing, counts do.
    """
    return token_norms(hidden.values)[2].to(hidden.values.dtype)


@hidden_metric(long_name="Largest activation", units="ratio", costly=True)
def largest_activation(hidden: HiddenState) -> Float[Tensor, " image"]:
    """max |x| / median |x| over tokens and channels after the layer, exact zeros left out of the
    median: about 7 for a million Gaussian numbers, a thousand or more where an activation is
    massive after Sun et al., "Massive Activations in Large Language Models" (2024), section 2.
    """
    return magnitudes(hidden.values).ratio[:, 0]
