"""The recipes of the embedded checkpoints: all that decides their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from .objective import PATCH
from .scenes import CLASS_NAMES, FIRST_TRAINING_SEED, SIZE

ARCHITECTURE = "vit_tiny_patch16_224"
"""timm's name of the architecture; `Recipe.model_args` shrinks it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training with one loss and one optimiser."""

    goal: Literal["pixels", "labels"]
    steps: int
    keep: int
    """Patches seen per image, until `all_from`."""
    all_from: float = 1.0
    """Share of the steps after which every patch is seen."""
    warm_up: int = 100
    """Steps in which the learning rate rises, linearly, to its peak."""
    rate: float = 2e-3
    """Peak learning rate; over the last 9/10 of the steps it falls, linearly, to 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a checkpoint's weights."""

    name: str
    about: str
    seed: int
    phases: tuple[Phase, ...]
    batch_size: int = 64
    reg_tokens: int = 0
    depth: int = 6
    embed_dim: int = 128
    num_heads: int = 4

    @property
    def model_args(self) -> dict[str, Any]:
        """What `timm.create_model` is given besides the architecture."""
        return {
            "img_size": SIZE,
            "patch_size": PATCH,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "num_heads": self.num_heads,
            "num_classes": len(CLASS_NAMES),
            "reg_tokens": self.reg_tokens,
        }

    @property
    def steps(self) -> int:
        """Optimiser steps over all phases."""
        return sum(phase.steps for phase in self.phases)

    def seeds(self, step: int) -> range:
        """Seeds of the scenes of a step; no two steps, and no two recipes, share one."""
        first = FIRST_TRAINING_SEED * (1 + 10 * self.seed) + step * self.batch_size
        return range(first, first + self.batch_size)

    def where(self, step: int) -> tuple[int, float]:
        """Phase of a step, and the share of that phase done before it."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, step / phase.steps
            step -= phase.steps
        return len(self.phases) - 1, 1.0


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe(
                name="supervised",
                about="fitted to labels and patch answers from random weights",
                seed=1,
                phases=(Phase(goal="labels", steps=3000, keep=64, all_from=0.8, warm_up=150),),
            ),
            Recipe(
                name="masked",
                about="pre-trained as a masked autoencoder, "
                "then fitted to labels and patch answers",
                seed=2,
                phases=(
                    Phase(goal="pixels", steps=2000, keep=40),
                    Phase(goal="labels", steps=1250, keep=64, all_from=0.9),
                ),
            ),
            Recipe(
                name="registers",
                about="fitted like `supervised`, with four register tokens beside the class token",
                seed=3,
                phases=(Phase(goal="labels", steps=1250, keep=56, all_from=0.9),),
                reg_tokens=4,
            ),
        )
    }
)
"""How each embedded checkpoint is made."""

NAMES = tuple(RECIPES)
"""The embedded checkpoints."""
