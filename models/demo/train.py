"""Make the embedded checkpoints again: on two CPU cores each takes well under an hour.

Scenes and dropped patches are drawn from seeds that count up with the step, so weights, optimiser
and step are the whole state: an interrupted run goes on from its last saved one and ends in the
same weights as a run that was never interrupted.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import HeadscopeError
from .card import write_card
from .objective import GRID, Batch, LabelFitting, MaskedModelling, batch
from .recipes import NAMES, RECIPES, Recipe
from .scenes import HELD_OUT, scene
from .weights import create, replacing, write_weights

__all__ = ["NAMES", "Progress", "Run", "snapshot_steps", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training run stands; prints as one line."""

    name: str
    goal: str
    """What the phase fits: "pixels" or "labels"."""
    step: int
    steps: int
    loss: float
    """Mean over the steps since the last report."""
    rights: Mapping[str, float]
    """Shares of right answers by question, mean over the same steps."""
    scenes_per_second: float
    seconds: float
    """Training time so far, interruptions left out."""

    def __str__(self) -> str:
        rights = "  ".join(f"{name} {share:.3f}" for name, share in self.rights.items())
        left = (self.steps - self.step) * self.seconds / self.step / 60
        return (
            f"{self.name} {self.goal} {self.step}/{self.steps}  loss {self.loss:.3f}  {rights}  "
            f"{self.scenes_per_second:.0f} scenes/s  about {left:.0f} min left"
        )


class Run:
    """A training run that can be saved between steps and taken up again."""

    def __init__(self, recipe: Recipe) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise HeadscopeError(
                f"training needs torch.optim.Muon, which torch {torch.__version__} lacks; "
                "install torch 2.9 or newer"
            )
        self.recipe = recipe
        self.step = 0
        self.seconds = 0.0
        self.network = create(recipe)
        self._start_phase(0)

    def _start_phase(self, phase: int) -> None:
        """A fresh loss and optimiser around the network as it is."""
        self._phase = phase
        goals = {"pixels": MaskedModelling, "labels": LabelFitting}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed + phase)
            self.objective = goals[self.recipe.phases[phase].goal](self.network).train()
        inner = {id(p) for p in self.network.blocks.parameters() if p.ndim == 2}
        hidden = [p for p in self.objective.parameters() if id(p) in inner]
        rest = [p for p in self.objective.parameters() if id(p) not in inner]
        self._optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(hidden, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, weight_decay=0.02, betas=(0.9, 0.98)),
        )

    def advance(self, data: Batch) -> tuple[str, float, dict[str, float]]:
        """Take one step on that step's scenes: goal, loss, shares of right answers."""
        index, done = self.recipe.where(self.step)
        if index != self._phase:
            self._start_phase(index)
        phase = self.recipe.phases[index]
        warm = (done * phase.steps + 1) / phase.warm_up
        rate = phase.rate * min(1.0, warm, (1 - done) / 0.9)
        keep = phase.keep if done < phase.all_from else GRID * GRID
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        with torch.autocast("cpu", torch.bfloat16):
            loss, rights = self.objective(data, keep, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return phase.goal, loss.item(), rights

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        return {
            "recipe": repr(self.recipe),
            "step": self.step,
            "seconds": self.seconds,
            "phase": self._phase,
            "objective": self.objective.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved `state`."""
        if state["recipe"] != repr(self.recipe):
            raise HeadscopeError(
                f"the saved training state is of another recipe, {state['recipe']}, "
                f"not {self.recipe!r}; delete it, or train with resume=False"
            )
        self._start_phase(state["phase"])
        self.objective.load_state_dict(state["objective"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]


def _ahead(recipe: Recipe, start: int) -> Iterator[Batch]:
    """The scenes of the steps from `start` on, drawn one step ahead while the network works."""

    def draw(step: int) -> Batch:
        return batch([scene(seed) for seed in recipe.seeds(step)])

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw, start)
        for step in range(start, recipe.steps):
            data = coming.result()
            if step + 1 < recipe.steps:
                coming = pool.submit(draw, step + 1)
            yield data


def snapshot_steps(steps: int, n: int) -> tuple[int, ...]:
    """When `n` snapshots of a run are kept: at its end, half way, a quarter, …, and before it.

    Heads change most in the beginning, so steps double: 0, 375, 750, 1500, 3000 for five.
    """
    if n < 0:
        raise HeadscopeError(f"{n} snapshots cannot be kept; give 0 or more.")
    halves = [round(steps / 2**back) for back in range(n - 2, -1, -1)]
    return tuple(dict.fromkeys([0, *halves] if n > 1 else [steps] * n))


def snapshot_paths(name: str, folder: Path, steps: int, n: int) -> dict[int, Path]:
    """Where the snapshots of a run are kept, by step."""
    digits = len(str(steps))
    return {
        step: folder / f"{name}-step-{step:0{digits}d}.safetensors"
        for step in snapshot_steps(steps, n)
    }


def check_snapshots(paths: Mapping[int, Path], step: int) -> None:
    """Raise a HeadscopeError where a run that is at `step` has passed a snapshot without keeping
    it."""
    lost = [path.name for at, path in paths.items() if at <= step and not path.exists()]
    if lost:
        raise HeadscopeError(
            f"The run is at step {step} already and did not keep {', '.join(lost)}; begin anew "
            "with --no-resume (resume=False), or leave the snapshots out."
        )


def train(
    name: str,
    *,
    out: Path | str = "headscope-demo",
    resume: bool = True,
    progress: Callable[[Progress], None] = print,
    recipe: Recipe | None = None,
    every: int = 25,
    save_every: int = 50,
    n_held_out: int = len(HELD_OUT),
    snapshots: int = 0,
) -> Path:
    """Train an embedded checkpoint; writes `<name>.safetensors` and its card `<name>.md` to `out`.

    Every `save_every` steps the run is saved as `<name>.partial.pt`, from where the same call goes
    on after an interruption; `progress` hears every `every` steps. The card's numbers are of the
    first `n_held_out` held-out scenes. `snapshots` of the run are kept as
    `<name>-step-<step>.safetensors`, at `snapshot_steps`. Returns the weights' path.
    """
    if recipe is None and name not in RECIPES:
        raise HeadscopeError(f"no demo checkpoint is called {name!r}; there are {', '.join(NAMES)}")
    recipe = recipe or RECIPES[name]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    saved, weights = folder / f"{name}.partial.pt", folder / f"{name}.safetensors"
    run = Run(recipe)
    if resume and saved.exists():
        run.load_state(torch.load(saved, weights_only=True))
    kept = snapshot_paths(name, folder, recipe.steps, snapshots)
    if run.step:
        check_snapshots(kept, run.step)

    def keep() -> None:
        if run.step in kept:
            write_weights(run.network, kept[run.step], recipe)

    if run.step == 0:
        keep()
    losses: list[float] = []
    shares: list[dict[str, float]] = []
    if run.step < recipe.steps:
        before = perf_counter()
        for data in _ahead(recipe, run.step):
            goal, loss, rights = run.advance(data)
            before, passed = perf_counter(), perf_counter() - before
            run.seconds += passed
            if shares and shares[0].keys() != rights.keys():
                losses, shares = [], []
            losses.append(loss)
            shares.append(rights)
            if run.step % every == 0 or run.step == recipe.steps:
                progress(
                    Progress(
                        name=name,
                        goal=goal,
                        step=run.step,
                        steps=recipe.steps,
                        loss=float(np.mean(losses)),
                        rights={k: float(np.nanmean([s[k] for s in shares])) for k in rights},
                        scenes_per_second=run.step * recipe.batch_size / run.seconds,
                        seconds=run.seconds,
                    )
                )
                losses, shares = [], []
            keep()
            if run.step % save_every == 0 or run.step == recipe.steps:
                with replacing(saved) as part:
                    torch.save(run.state(), part)
    write_weights(run.network, weights, recipe)
    write_card(weights, recipe, seconds=run.seconds, n_scenes=n_held_out)
    saved.unlink()
    return weights
