"""Inner products between all pairs of heads, summed over images."""

from collections.abc import Hashable
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models.checkpoint import Checkpoint


@final
class HeadPairs:
    """Σ over images of the inner products of vectors, one a head; heads of one group compare.

    Memory: one number a pair, and the vectors of one batch.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._n_heads = [layer.n_heads for layer in checkpoint.layers]
        self._starts = np.cumsum([0, *self._n_heads])
        n = int(self._starts[-1])
        self.sums: Float[np.ndarray, "pair_head pair_head"] = np.zeros((n, n))
        self.compared: Bool[np.ndarray, "pair_head pair_head"] = np.zeros((n, n), bool)
        """Which pairs are of one group."""
        self._batch: dict[Hashable, dict[int, Tensor]] = {}

    def add(self, layer: int, group: Hashable, vectors: Float[Tensor, "image head entry"]) -> None:
        """Take the vectors of a layer's heads; those of one group are equally long."""
        self._batch.setdefault(group, {})[layer] = vectors

    def end_of_batch(self) -> None:
        """Compare what was added, and forget it."""
        for layers in self._batch.values():
            places = np.concatenate([np.arange(*self._starts[[at, at + 1]]) for at in layers])
            for image in zip(*layers.values(), strict=True):
                vectors = torch.cat(image)
                products = (vectors @ vectors.T).double().cpu().numpy()
                self.sums[np.ix_(places, places)] += products
            self.compared[np.ix_(places, places)] = True
        self._batch.clear()

    def by_layer(
        self, values: Float[np.ndarray, "pair_head pair_head"]
    ) -> Float[np.ndarray, "layer head layer_2 head_2"]:
        """A number a pair, by layers and heads; NaN for heads that a layer does not have."""
        n_layers, most = len(self._n_heads), max(self._n_heads)
        padded = np.full((n_layers * most,) * 2, np.nan)
        places = np.concatenate(
            [at * most + np.arange(n_heads) for at, n_heads in enumerate(self._n_heads)]
        )
        padded[np.ix_(places, places)] = values
        return padded.reshape(n_layers, most, n_layers, most)
