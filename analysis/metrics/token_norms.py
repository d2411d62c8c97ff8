"""Sinks as hidden states show them: which token is long, and how far one channel stands out."""

from jaxtyping import Float
from torch import Tensor

from ..sinks.hidden import magnitudes, token_norms
from .hidden import HiddenState, hidden_metric


@hidden_metric(long_name="Largest token norm", units="norm")
def token_norm(hidden: HiddenState) -> Float[Tensor, " image"]:
    """max_t ‖x_t‖₂ over the tokens t after the layer, in the units of the residual stream.

    Range: from 0, without an upper end.
    Reading: read it beside the median: a token that is many times as long is an outlier.
    Source: Darcet et al., "Vision Transformers Need Registers" (2024), section 2.1.
    """
    return token_norms(hidden.values)[0]


@hidden_metric(long_name="Median token norm", units="norm")
def token_norm_median(hidden: HiddenState) -> Float[Tensor, " image"]:
    """median_t ‖x_t‖₂ over the tokens t after the layer, in the units of the residual stream.

    Range: from 0, without an upper end.
    Reading: how long a typical token is: what the longest is compared with.
    Source: as for the largest token norm: Darcet et al. (2024).
    """
    return token_norms(hidden.values)[1]


@hidden_metric(long_name="Token of the largest norm", units="token")
def token_norm_token(hidden: HiddenState) -> Float[Tensor, " image"]:
    """argmax_t ‖x_t‖₂ over the tokens t after the layer: the index among the tokens of its output.

    Range: 0 to the number of tokens − 1.
    Reading: which token is the longest. An index: means over images say nothing, counts do.
    Source: as for the largest token norm: Darcet et al. (2024).
    """
    return token_norms(hidden.values)[2].to(hidden.values.dtype)


@hidden_metric(long_name="Largest activation", units="ratio", costly=True)
def largest_activation(hidden: HiddenState) -> Float[Tensor, " image"]:
    """max |x| / median |x| over tokens and channels after the layer, exact zeros left out of the
    median.

    Range: from 1, without an upper end; about 7 for a million Gaussian numbers.
    Reading: a thousand or more where an activation is massive.
    Source: Sun et al., "Massive Activations in Large Language Models" (2024), section 2.
    """
    return magnitudes(hidden.values).ratio[:, 0]
