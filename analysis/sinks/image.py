"""What keys get in one image, layer by layer: a map of sinks over the image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint
from ...models.layout import TokenLayout
from ...models.sinks import KeyAttention, SinkRule


@dataclass(frozen=True, eq=False)
class LayerSinks:
    """What the keys of one layer get in one image; NaN for keys that no query reaches."""

    keys: TokenLayout
    received: Float[np.ndarray, "head key"]
    """c_j: the mean attention from the queries that reach the key."""
    lift: Float[np.ndarray, "head key"]
    """c_j over what it would be if no query chose: 1 is a key's share."""
    limit: Float[np.ndarray, " head"]
    """How much lift a sink has at least."""
    is_sink: Bool[np.ndarray, "head key"]

    def over_image(self, head: int) -> Float[np.ndarray, "row column"] | None:
        """c_j of the patches on their grid; None where keys are on no grid."""
        if not self.keys.n_patches or self.keys.scattered is not None:
            return None
        return self.received[head][self.keys.is_patch].reshape(self.keys.grid)


def image_sinks(
    checkpoint: Checkpoint, crop: UInt8[np.ndarray, "row column 3"], lift: float | None = None
) -> tuple[LayerSinks, ...]:
    """What every key of every layer gets in one image, as `checkpoint.crop` gives it.

    `lift`: how many times its share a sink gets; None: what is an outlier in its head.
    """
    found: dict[int, LayerSinks] = {}

    def keep(layer: LayerAttention) -> None:
        keys = KeyAttention.of(layer)  # of one image: the windows are its own
        limit = keys.limit if lift is None else keys.limit * 0 + lift
        found[layer.layer] = LayerSinks(
            layer.layout.keys,
            _numbers(keys.received),
            _numbers(keys.lift),
            _numbers(limit),
            SinkRule(lift).sinks(keys)[0].cpu().numpy(),
        )

    watch(checkpoint, checkpoint.prepare(crop[None]), keep)
    return tuple(found[layer] for layer in range(checkpoint.n_layers))


def _numbers(of_images: Tensor) -> np.ndarray:
    return of_images[0].double().cpu().numpy()
