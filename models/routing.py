"""Where routed attention goes: the layouts of each image, where they depend on it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .geometry import place_attention
from .layers import Layer
from .layout import AttentionLayout
from .tracing import Choices, trace


def routed_layouts(
    model: nn.Module, layers: Sequence[Layer], batch: Tensor, prefix_kinds: tuple[str, ...]
) -> dict[int, list[AttentionLayout]]:
    """The layout of each image of a batch, by the index of each routed layer.

    The model runs on the batch, to see what it picks (`Choices`), and once more on places.
    """
    choices = Choices()
    with torch.inference_mode(), choices.record():
        model(batch)
    size = (batch.shape[-2], batch.shape[-1])
    traced = trace(
        model, size, channels=batch.shape[1], n_images=len(batch), choices=choices.made
    ).attention
    return {
        layer.index: [
            place_attention(
                traced[layer.sites[0]].query,
                traced[layer.sites[0]].key,
                size,
                prefix_kinds,
                image=image,
                n_images=len(batch),
            ).layout
            for image in range(len(batch))
        ]
        for layer in layers
        if layer.routed
    }
