"""Is an explanation true to the model? Every method on the same images, by every score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from ..explain.base import explanations
from ..explain.explain import Classes, Features, method_of
from ..explain.perturbing import CellGrid, cell_grid
from ..explain.target import Target, target_of
from .agreement import seed_stability
from .baselines import BASELINES
from .cells import Maps, checked
from .covering import Covering, quantity_of
from .curves import STEPS, Curves, deletion_insertion
from .explainers import Explainer, Explaining
from .infidelity import Squares, infidelity, max_sensitivity
from .localisation import Masks, check_masks, energy_in_mask, iou, pointing_game
from .randomisation import Randomisation, randomisation_check
from .road import road
from .scores import COSTLY, Score, chosen
from .table import FaithfulnessTable

SEEDS = (0, 1, 2)
"""Of randomised copies, and of stability."""


@dataclass(frozen=True, eq=False)
class _Task:
    """What is the same for all methods."""

    checkpoint: Checkpoint
    batch: Float[Tensor, "image channel row column"]
    target: Target
    masks: Masks | None
    squares: Squares
    grid: CellGrid
    scores: tuple[Score, ...]
    curve_options: Mapping[str, Any]
    n_costly: int
    seed: int
    maps: dict[str, Maps] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    randomisations: dict[str, Randomisation] = field(default_factory=dict)

    def first(self, n_images: int) -> "_Task":
        """The same for the first images."""
        if n_images >= len(self.batch):
            return self
        some = slice(0, n_images)
        return replace(
            self,
            batch=self.batch[some],
            target=self.target.take(some),
            masks=None if self.masks is None else self.masks[some],
            squares=self.squares.first(n_images),
        )


def compare_explanations(
    checkpoint: Checkpoint,
    images: Images,
    methods: Sequence[str] | Mapping[str, Explainer] | None = None,
    *,
    masks: Masks | None = None,
    maps: Mapping[str, Maps] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    target: Classes = None,
    against: Classes = None,
    features: Features | None = None,
    scores: Sequence[str] | None = None,
    baselines: Sequence[str] = tuple(BASELINES),
    steps: int = STEPS,
    fill: str = "mean",
    quantity: str | None = None,
    n_slow: int = 32,
    n_costly: int = 32,
    batch_size: int = 16,
    seed: int = 0,
    confidence: float = 0.95,
    progress: Callable[[float, str], None] | None = None,
) -> FaithfulnessTable:
    """A table of how true each method is to the model, and how well it finds what is there.

    Args:
        checkpoint: from `load`.
        images: one or several, or a batch ready for the model.
        methods: of `explanations()`, by name; None: all of them. Or functions of your own by name.
        masks: where the truth is, at input pixels, for the scores of localisation.
        maps: ready ones by name, from elsewhere; they cannot be tested for sensitivity, random
            weights or seeds.
        options: of methods, by the name of the method.
        target: class by index or label, or one for each image; None: each image's prediction.
        against: a class that the target is told from.
        features: in the place of classes.
        scores: names of `SCORES`; None: all, those of localisation if there are masks.
        baselines: maps that know nothing of the model, each a row.
        steps: of the curves.
        fill: what covered cells show.
        quantity: "probability" or "score".
        n_slow: slow methods are given the first so many images only.
        n_costly: scores that run a method again and again, likewise; of slow methods an eighth.
        batch_size: images in one pass of a method.
        seed: of all that is by lot.
        confidence: of the intervals.
        progress: told the share that is done and what is under way; what it raises stops the work.

    Raises:
        HeadscopeError: no such method, score, baseline or class, or masks that do not fit.
    """
    batch = checkpoint.batch(images)
    if not len(batch):
        raise HeadscopeError("There is no image; give at least one.")
    wanted = chosen(None if scores is None else tuple(scores), has_masks=masks is not None)
    if masks is not None:
        masks = check_masks(masks, len(batch))
        if masks.shape[1:] != tuple(batch.shape[-2:]):
            height, width = batch.shape[-2:]
            raise HeadscopeError(
                f"Masks of {masks.shape[2]}×{masks.shape[1]} px (width × height) do not fit the "
                f"model's input of {width}×{height} px; read_mask makes them."
            )
    if unknown := [name for name in baselines if name not in BASELINES]:
        raise HeadscopeError(
            f"There is no baseline {unknown[0]!r}; there are: {', '.join(BASELINES)}."
        )
    output = torch.cat([checkpoint.run(part) for part in batch.split(4 * batch_size)])
    aim = target_of(checkpoint, output.clone(), target, against=against, features=features)
    named, reasons = _explainers(checkpoint, aim, methods, options or {}, batch_size, seed)
    rows: dict[str, Explainer | Maps] = {**named, **(maps or {})}
    if clash := [name for name in baselines if name in rows]:
        raise HeadscopeError(
            f"{clash[0]!r} is the name of a baseline; call the method otherwise, or leave the "
            "baseline out."
        )
    rows |= {name: BASELINES[name] for name in baselines}
    grid, curve_options = cell_grid(checkpoint), {"steps": steps, "fill": fill}
    covering = Covering(
        checkpoint, batch, aim, grid=grid, fill=fill, quantity=quantity, batch_size=4 * batch_size
    )
    curve_options |= {"quantity": covering.quantity, "batch_size": 4 * batch_size, "seed": seed}
    task = _Task(
        checkpoint,
        batch,
        aim,
        masks,
        Squares(covering, seed=seed),
        grid,
        wanted,
        curve_options,
        n_costly,
        seed,
    )
    registry = explanations()
    values = np.full((len(rows), len(wanted), len(batch)), np.nan)
    slow = []
    for index, (name, row) in enumerate(rows.items()):

        def tell(share: float, doing: str, index: int = index, name: str = name) -> None:
            if progress is not None:
                progress((index + share) / len(rows), f"{name}: {doing}")

        tell(0, "maps")
        is_slow = name in named and name in registry and registry[name].slow
        of = task
        if is_slow:
            slow.append(name)
            of = replace(task.first(n_slow), n_costly=_of_slow(n_costly))
        found = _score(of, name, row, _long_name(name), tell)
        for column, score in enumerate(wanted):
            if score.name in found:
                values[index, column, : len(found[score.name])] = found[score.name]
    if progress is not None:
        progress(1.0, "done")
    return FaithfulnessTable(
        methods=tuple(rows),
        baselines=tuple(baselines),
        scores=wanted,
        values=values,
        long_names={name: _long_name(name) for name in (*rows, *reasons)},
        model=checkpoint.name,
        target=aim.words,
        quantity=quantity_of(aim, quantity),
        reasons=reasons,
        notes=_notes(task, slow, n_slow),
        maps=task.maps,
        curves=task.curves,
        randomisations=task.randomisations,
        confidence=confidence,
    )


def _explainers(
    checkpoint: Checkpoint,
    aim: Target,
    methods: Sequence[str] | Mapping[str, Explainer] | None,
    options: Mapping[str, Mapping[str, Any]],
    batch_size: int,
    seed: int,
) -> tuple[dict[str, Explainer], dict[str, str]]:
    """What gives the maps, by name; and why some methods do not fit."""
    if isinstance(methods, Mapping):
        return dict(methods), {}
    found: dict[str, Explainer] = {}
    reasons: dict[str, str] = {}
    for name in explanations() if methods is None else methods:
        if why := method_of(name).why_not(checkpoint):
            reasons[name] = why
            continue
        found[name] = Explaining(name, aim, options.get(name, {}), batch_size, seed)
    return found, reasons


def _score(
    task: _Task,
    name: str,
    row: Explainer | Maps,
    long_name: str,
    tell: Callable[[float, str], None],
) -> dict[str, Float[np.ndarray, " image"]]:
    """Every score of one method, by name."""
    n_images, images = len(task.batch), np.arange(len(task.batch))
    kinds = dict.fromkeys(score.kind for score in task.scores)
    if isinstance(row, np.ndarray):
        kinds = {kind: None for kind in kinds if kind not in COSTLY}
    latest = (0.0, "maps")

    def pulse(share: float) -> None:
        """Of a method at work: how far it is with the maps; later only that it can be stopped."""
        done, doing = latest
        tell(share / (len(kinds) + 1) if doing == "maps" else done, doing)

    if isinstance(row, Explaining):
        row = replace(row, progress=pulse)
    maps = row if isinstance(row, np.ndarray) else row(task.checkpoint, task.batch, images)
    maps = checked(maps, n_images, name=long_name)
    task.maps[name] = task.grid.means(maps)
    some = task.first(task.n_costly)
    found: dict[str, Float[np.ndarray, " image"]] = {}
    for index, kind in enumerate(kinds):

        def part(share: float, index: int = index, kind: str = kind) -> None:
            nonlocal latest
            latest = ((index + 1 + share) / (len(kinds) + 1), kind)
            tell(*latest)

        part(0)
        if kind == "curves":
            curves = deletion_insertion(
                task.checkpoint,
                task.batch,
                maps,
                task.target,
                grid=task.grid,
                progress=part,
                **task.curve_options,
            )
            task.curves[name] = curves
            found["deletion"], found["insertion"] = curves.deletion_area, curves.insertion_area
            found["difference"] = curves.difference
        elif kind == "road":
            found["road"] = road(
                task.checkpoint,
                task.batch,
                maps,
                task.target,
                grid=task.grid,
                quantity=task.curve_options["quantity"],
                seed=task.seed,
                progress=part,
            ).score
        elif kind == "infidelity":
            found["infidelity"] = infidelity(task.squares, maps, progress=part)
        elif kind == "place" and task.masks is not None:
            found["pointing"] = pointing_game(maps, task.masks)
            found["iou"] = iou(maps, task.masks)
            found["energy"] = energy_in_mask(maps, task.masks)
        elif not isinstance(row, np.ndarray):
            found |= _costly(some, name, row, long_name, kind, maps, part)
    return found


def _costly(
    task: _Task,
    name: str,
    explainer: Explainer,
    long_name: str,
    kind: str,
    maps: Maps,
    tell: Callable[[float], None],
) -> dict[str, Float[np.ndarray, " image"]]:
    images = np.arange(len(task.batch))
    if kind == "sensitivity":
        found = max_sensitivity(
            task.checkpoint, task.batch, explainer, grid=task.grid, seed=task.seed, progress=tell
        )
        return {"sensitivity": found}
    if kind == "weights":
        check = randomisation_check(
            task.checkpoint,
            task.batch,
            explainer,
            method=long_name,
            seeds=[task.seed + seed for seed in SEEDS],
            grid=task.grid,
            progress=tell,
        )
        task.randomisations[name] = check
        return {"randomised": check.rho[-1].mean(0)}
    if kind == "seeds" and isinstance(explainer, Explaining):
        seeded = [explainer.with_seed(task.seed + seed) for seed in SEEDS[1:]]
        alone = [of(task.checkpoint, task.batch[:1], images[:1]) for of in (explainer, seeded[0])]
        if np.array_equal(
            alone[0], alone[1]
        ):  # nothing is by lot: what is the same for one is for all
            return {"stability": np.ones(len(images))}
        others = [of(task.checkpoint, task.batch, images) for of in seeded]
        seen = [maps[: len(images)], *others]
        return {"stability": seed_stability([task.grid.means(of) for of in seen])}
    return {}


def _of_slow(n_costly: int) -> int:
    """Images for costly scores of slow methods, which are hundreds of passes times a dozen."""
    return max(1, n_costly // 8)


def _long_name(name: str) -> str:
    methods = explanations()
    return methods[name].long_name if name in methods else name


def _notes(task: _Task, slow: list[str], n_slow: int) -> tuple[str, ...]:
    notes, n_images = [], len(task.batch)
    names = ", ".join(_long_name(name) for name in slow)
    if slow and n_slow < n_images:
        notes.append(f"On the first {n_slow} of {n_images} images: {names}.")
    costly = ", ".join(score.long_name for score in task.scores if score.kind in COSTLY)
    if costly and task.n_costly < n_images:
        notes.append(f"On the first {task.n_costly} of {n_images} images: {costly}.")
    if costly and slow and _of_slow(task.n_costly) < n_images:
        notes.append(f"On the first {_of_slow(task.n_costly)}: the same scores of {names}.")
    # Of a baseline it is known.
    checks = [check for name, check in task.randomisations.items() if name not in BASELINES]
    notes += [check.sentence for check in checks if check.sentence]
    return tuple(notes)
