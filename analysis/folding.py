"""What a study measures in a forward pass: each layer is folded into numbers as it runs."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..models.capture import LayerAttention
from ..models.checkpoint import Checkpoint
from ..models.replay import Replay
from .metrics import HiddenMetric, HiddenState, dimension_named
from .selected import Selected


@final
class Folding:
    """Takes the selected numbers of attention and hidden states, one forward pass at a time.

    Memory: one layer's maps, and what the numbers across images keep, which does not grow with
    images.
    """

    def __init__(self, checkpoint: Checkpoint, selected: Selected) -> None:
        self._checkpoint = checkpoint
        self._attention = selected.attention
        self._hidden = selected.hidden
        self._across = {name: kind(checkpoint) for name, kind in selected.across.items()}

    def run(
        self, batch: Float[Tensor, "image channel row column"]
    ) -> tuple[Replay, dict[str, Float[np.ndarray, "image layer ..."]]]:
        """Run a batch: the clean pass, kept, and every number of each of its images."""
        folded: dict[str, list[Tensor]] = {name: [] for name in self._attention}

        def fold(layer: LayerAttention) -> None:
            for name, metric in self._attention.items():
                folded[name].append(metric.compute(layer).cpu())
            self._fold_across(layer)

        replay = Replay(self._checkpoint, batch, fold)
        results = {name: by_layer(layers) for name, layers in folded.items()}
        with torch.inference_mode():
            for name, metric in self._hidden.items():
                results[name] = self._of_hidden(metric, replay)
        return replay, results

    def again(self, batch: Float[Tensor, "image channel row column"]) -> None:
        """Fold images whose own numbers are known into those across images."""
        # By the same way as `run`, so that they are the same to the bit.
        Replay(self._checkpoint, batch, self._fold_across)

    def finish(self) -> dict[str, Float[np.ndarray, "layer head ..."]]:
        """The numbers of all images together."""
        return {name: across.finish() for name, across in self._across.items()}

    def _fold_across(self, layer: LayerAttention) -> None:
        for across in self._across.values():
            across.fold(layer)

    def _of_hidden(self, metric: HiddenMetric, replay: Replay) -> Float[np.ndarray, "image layer"]:
        common = self._checkpoint.common
        shape = [dimension_named(dim).size(common) for dim in metric.dims]
        found = np.full((replay.n_images, self._checkpoint.n_layers, *shape), np.nan)
        for layer in self._checkpoint.layers:
            values = replay.hidden(layer.index)
            if values is not None and layer.rows is not None:
                state = HiddenState(layer, layer.rows.layout, values)
                found[:, layer.index] = metric.compute(state).double().cpu().numpy()
        return found


def by_layer(layers: Sequence[Tensor]) -> Float[np.ndarray, "image layer head ..."]:
    """Layers side by side; those with fewer heads are filled up with NaN."""
    n_heads = max(layer.shape[1] for layer in layers)
    first = layers[0]
    stacked = np.full((len(first), len(layers), n_heads, *first.shape[2:]), np.nan)
    for index, layer in enumerate(layers):
        stacked[:, index, : layer.shape[1]] = layer.numpy()
    return stacked
