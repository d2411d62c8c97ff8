"""Does a map change when the model forgets what it learnt? Adebayo's randomisation check."""

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..explain.perturbing import CellGrid, cell_grid
from .cells import checked
from .explainers import Explainer
from .ranks import rank_correlation

LIMIT = 0.3
"""Mean rank correlation from which on a map does not depend on the weights."""

How = Literal["redraw", "permute"]


@dataclass(frozen=True)
class Stage:
    """Weights that are randomised together."""

    name: str
    """Of the block; `"head"` for all behind the last, `"stem"` for all before the first."""
    parameters: tuple[str, ...]


def stages(checkpoint: Checkpoint) -> tuple[Stage, ...]:
    """A model's weights from the top down: head, blocks of attention layers, stem.

    What stands between two blocks goes with the upper one; what is before the first block is
    the stem. In the order of registration, which in every model of timm is that of running.
    """
    blocks = list(dict.fromkeys(layer.module.rpartition(".")[0] for layer in checkpoint.layers))
    groups: dict[str, list[str]] = {"stem": []}
    waiting: list[str] = []
    for name, _ in checkpoint.model.named_parameters():
        # A block within a block (a cascade) belongs to the inner one.
        inside = [block for block in blocks if block and name.startswith(f"{block}.")]
        if not inside:
            waiting.append(name)
            continue
        block = max(inside, key=len)
        if len(groups) == 1 and block not in groups:
            groups["stem"] += waiting
            waiting = []
        groups.setdefault(block, []).extend([*waiting, name])
        waiting = []
    groups["head"] = waiting
    return tuple(Stage(name, tuple(of)) for name, of in reversed(groups.items()) if of)


def randomised(
    checkpoint: Checkpoint,
    parameters: Sequence[str] | None = None,
    *,
    how: How = "redraw",
    seed: int = 0,
) -> Checkpoint:
    """A copy of a checkpoint whose weights are random; the checkpoint itself is not touched.

    Args:
        checkpoint: from `load`.
        parameters: names of those that are randomised; None: all.
        how: "redraw": a normal distribution with the tensor's own mean and standard deviation;
            "permute": the tensor's own numbers in another order, so that all its moments stay.
        seed: of what is drawn; each tensor has its own draw by name, so that a cascade keeps what
            it has drawn.

    Tensors whose numbers are all the same (a fresh norm's scale) stay as they are.
    """
    if how not in ("redraw", "permute"):
        raise HeadscopeError(f"There is no way {how!r} to randomise; there are: redraw, permute.")
    with checkpoint.lock:
        model = copy.deepcopy(checkpoint.model)
    known = dict(model.named_parameters())
    wanted = list(known) if parameters is None else list(parameters)
    if missing := [name for name in wanted if name not in known]:
        raise HeadscopeError(f"{checkpoint.name} has no weights called {missing[0]!r}.")
    order = {name: index for index, name in enumerate(known)}
    with torch.no_grad():
        for name in wanted:
            weights = known[name]
            generator = torch.Generator().manual_seed(seed * 1_000_003 + order[name])
            flat = weights.detach().cpu().flatten()
            if how == "permute":
                drawn = flat[torch.randperm(len(flat), generator=generator)]
            else:
                spread = flat.std() if len(flat) > 1 else flat.new_zeros(())
                drawn = flat.mean() + spread * torch.randn(
                    len(flat), generator=generator, dtype=flat.dtype
                )
            weights.copy_(drawn.view(weights.shape))
    # Another network is another name, so that nothing kept by name mixes them up.
    name = f"{checkpoint.name}, randomised"
    return replace(checkpoint, name=name, model=model, lock=threading.RLock())


@final
@dataclass(frozen=True, eq=False)
class Randomisation:
    """How alike maps of the model and of its randomised copies are."""

    method: str
    model: str
    mode: str
    """"cascading": a stage and all above it; "independent": it alone."""
    how: str
    stages: tuple[str, ...]
    """From the top down."""
    rho: Float[np.ndarray, "stage seed image"]
    """Rank correlation of the cells with those of the model itself."""
    rho_absolute: Float[np.ndarray, "stage seed image"]
    """The same of absolute values: where a map is strong, whatever the sign."""

    @property
    def similarity(self) -> float:
        """|mean ρ| over images and seeds with all weights random (the last of the cascade).

        NaN where stages were randomised one at a time, and where both maps are flat.
        """
        return self._of_all(self.rho)

    @property
    def similarity_absolute(self) -> float:
        """The same of absolute values."""
        return self._of_all(self.rho_absolute)

    @property
    def depends_on_weights(self) -> bool:
        """Whether the map's order changes with the weights: similarity under 0.3."""
        return self.similarity < LIMIT

    @property
    def sentence(self) -> str:
        """For the reader of a map that does not change; empty for one that does."""
        if np.isnan(self.similarity):
            return ""
        if not self.depends_on_weights:
            return (
                f"{self.method} hardly changes when the weights of {self.model} are randomised "
                f"(rank correlation {self.similarity:.2f}): it shows the image, or how the model "
                "is built, and not what the model has learnt."
            )
        if self.similarity_absolute >= LIMIT:
            return (
                f"Where {self.method} is strong hardly changes when the weights of {self.model} "
                f"are randomised (rank correlation {self.similarity_absolute:.2f} of absolute "
                "values), only its signs do: trust the sign, not the strength."
            )
        return ""

    def _of_all(self, rho: Float[np.ndarray, "stage seed image"]) -> float:
        if self.mode == "independent" or not np.isfinite(rho[-1]).any():
            return float("nan")
        return abs(float(np.nanmean(rho[-1])))


def randomisation_check(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    explainer: Explainer,
    *,
    method: str = "The map",
    mode: Literal["full", "cascading", "independent"] = "full",
    how: How = "redraw",
    seeds: Sequence[int] = (0, 1, 2),
    grid: CellGrid | None = None,
    progress: Callable[[float], None] | None = None,
) -> Randomisation:
    """Maps of the model beside those of copies with random weights, by rank correlation.

    Adebayo et al., NeurIPS 2018 (arXiv 1810.03292), section 3: "cascading" randomises from the
    top down, stage by stage; "independent" one stage at a time. "full" is the last step of the
    cascade alone, which is all that the verdict needs. Cells, not pixels, are compared, and no map
    is scaled; one draw of weights has a bias of place of its own, so several are averaged.

    Args:
        checkpoint: from `load`.
        batch: ready for the model.
        explainer: what gives the maps.
        method: its name, for the sentence.
        mode: which weights are randomised.
        how: "redraw" or "permute"; see `randomised`.
        seeds: of the copies.
        grid: of the cells compared; by default whole patches, at most 16 along an axis.
        progress: told the share that is done; whatever it raises stops the work.
    """
    if not seeds:
        raise HeadscopeError("No seeds to randomise by; give at least one.")
    grid = grid or cell_grid(checkpoint)
    images = np.arange(len(batch))

    def maps_of(of: Checkpoint) -> np.ndarray:
        return grid.means(checked(explainer(of, batch, images), len(batch), name=method))

    clean = maps_of(checkpoint)
    chosen = _chosen(checkpoint, mode)
    rho = np.empty((2, len(chosen), len(seeds), len(batch)))
    for index, (_, parameters) in enumerate(chosen):
        for which, seed in enumerate(seeds):
            found = maps_of(randomised(checkpoint, parameters, how=how, seed=seed))
            rho[0, index, which] = rank_correlation(clean, found)
            rho[1, index, which] = rank_correlation(np.abs(clean), np.abs(found))
            if progress is not None:
                progress((index * len(seeds) + which + 1) / (len(chosen) * len(seeds)))
    return Randomisation(
        method, checkpoint.name, mode, how, tuple(name for name, _ in chosen), rho[0], rho[1]
    )


def _chosen(checkpoint: Checkpoint, mode: str) -> list[tuple[str, Sequence[str] | None]]:
    """Names of the steps, and which weights are random at each."""
    if mode == "full":
        return [("all", None)]
    if mode not in ("cascading", "independent"):
        raise HeadscopeError(f"There is no mode {mode!r}; there are: full, cascading, independent.")
    found = stages(checkpoint)
    if mode == "independent":
        return [(stage.name, stage.parameters) for stage in found]
    return [
        (stage.name, [name for above in found[: index + 1] for name in above.parameters])
        for index, stage in enumerate(found)
    ]
