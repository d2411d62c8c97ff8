"""What counts as a model's output: one row of logits or features for each image."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .errors import HeadscopeError

Readout = Callable[[Any], Tensor]
"""The model's output to `image output`."""

FIELDS = ("logits", "image_embeds", "pooler_output", "last_hidden_state")
"""Which field of a structured output is taken, the first that is there."""


def readout_of(model: nn.Module) -> Readout:
    """Logits or pooled features as they are; features of tokens or pixels by their mean.

    Models that give several things give them under names (`FIELDS`); of a sequence the last counts.
    """
    channels = getattr(model, "num_features", None)

    def read(output: Any) -> Tensor:
        if isinstance(output, Mapping):
            found = [output[field] for field in FIELDS if output.get(field) is not None]
            if not found:
                raise HeadscopeError(
                    f"{type(model).__name__} gives {', '.join(map(str, output))}; expected one of "
                    f"{', '.join(FIELDS)}. Give wrap(…, readout=…) a function to one row an image."
                )
            return read(found[0])
        if isinstance(output, (list, tuple)) and output:
            return read(output[-1])
        if isinstance(output, Tensor) and output.dim() == 2:
            return output
        if isinstance(output, Tensor) and output.dim() == 3:
            return output.mean(1)
        if isinstance(output, Tensor) and output.dim() == 4:
            channels_last = output.shape[-1] == channels and output.shape[1] != channels
            return output.mean((1, 2) if channels_last else (2, 3))
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise HeadscopeError(
            f"{type(model).__name__} gives {shape} for one image; expected one row of logits or "
            "features."
        )

    return read
