"""What is tested for faithfulness: whatever gives a map for each image of a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ..explain.explain import explain
from ..explain.target import Target
from .cells import Maps


class Explainer(Protocol):
    """Maps for a batch by a checkpoint, which may be another one than the maps are for."""

    def __call__(
        self,
        checkpoint: Checkpoint,
        batch: Float[Tensor, "variant channel row column"],
        images: Int[np.ndarray, " variant"],
        /,
    ) -> Maps:
        """`images` says of which of the images each row is a variant."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Explaining:
    """A registered method, asked about one target: the same class whatever was done to images."""

    method: str
    target: Target
    """Of all images."""
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 16
    seed: int = 0
    progress: Callable[[float], None] | None = None

    def __call__(
        self, checkpoint: Checkpoint, batch: Tensor, images: Int[np.ndarray, " variant"], /
    ) -> Maps:
        rows = torch.from_numpy(np.asarray(images))
        aim = self.target
        # A feature model's own output is not given: of each variant it is its own.
        features = aim.features if aim.is_cosine else None
        with torch.inference_mode(mode=False), torch.enable_grad():
            found = explain(
                checkpoint,
                batch,
                self.method,
                target=None if aim.classes is None else aim.classes[rows.to(aim.classes.device)],
                against=None if aim.against is None else aim.against[rows.to(aim.against.device)],
                features=None if features is None else features[rows.to(features.device)],
                batch_size=self.batch_size,
                seed=self.seed,
                progress=self.progress,
                **self.options,
            )
        return np.asarray(found.values, np.float64)

    def with_seed(self, seed: int) -> "Explaining":
        """The same with other random numbers."""
        return replace(self, seed=seed)
