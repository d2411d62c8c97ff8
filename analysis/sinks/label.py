"""What a study's numbers say of the sink of each head, without another pass."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...models.sinks import LEAST_LIFT, LEAST_QUERIES
from ..study import Study

NEEDED = ("sink_score", "sink_token")
IN_HALF = 0.5
"""Of the images: a head has a sink where at least half of them have one."""


@dataclass(frozen=True, eq=False)
class SinkLabels:
    """The token that gets most attention in each head, over the images of a study.

    A key with more than `LEAST_LIFT` times its share may be a sink: `find_sinks` also asks that it
    is an outlier, and that most queries give it more than its share. One with less is none.
    """

    token: Int[np.ndarray, "layer head"]
    """The key token of most images, by its index in the layer; −1: no such head."""
    token_share: Float[np.ndarray, "layer head"]
    """Of the images, those in which it is that token."""
    score: Float[np.ndarray, "layer head"]
    """c of the token that gets most: mean over images."""
    lift: Float[np.ndarray, "layer head"]
    """The same over 1/n, what each of n keys would get: mean over images. NaN where a query does
    not reach all keys (windows), so that the share is not 1/n."""
    above: Float[np.ndarray, "layer head"]
    """Of the images, those with a lift above `LEAST_LIFT`; 0 in a layer of too few queries to tell
    a sink from what they look for; NaN where the lift is not known."""


def sink_labels(study: Study) -> SinkLabels | None:
    """From the sink numbers of a study; None where it was made without them."""
    if not all(name in study.data for name in NEEDED):
        return None
    score, tokens = (
        study.data[name].transpose("image", "layer", "head").values.astype(float) for name in NEEDED
    )
    shape = score.shape[1:]
    token, token_share = np.full(shape, -1), np.full(shape, np.nan)
    lift, above = np.full(shape, np.nan), np.full(shape, np.nan)
    mean = np.full(shape, np.nan)
    for layer, head in np.ndindex(*shape):
        there = np.isfinite(tokens[:, layer, head])
        if not there.any():
            continue
        found, counts = np.unique(tokens[there, layer, head], return_counts=True)
        token[layer, head] = int(found[counts.argmax()])
        token_share[layer, head] = counts.max() / there.sum()
        of_head = score[there, layer, head]
        mean[layer, head] = of_head.mean()
        layout = study.layer_layouts[layer]
        if layout.queries.n_tokens < LEAST_QUERIES:
            above[layer, head] = 0
        elif layout.attention == "global":
            lifts = of_head * layout.keys.n_tokens
            lift[layer, head] = lifts.mean()
            above[layer, head] = (lifts > LEAST_LIFT).mean()
    return SinkLabels(token, token_share, mean, lift, above)
