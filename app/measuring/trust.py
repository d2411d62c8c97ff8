"""Whether maps are true to the model: on one picture, with random weights, and on many."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ..jobs import Job
from . import pictures as sizes
from .explaining import Decision, Options
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint, Photograph
    from ...analysis.explain.perturbing import CellGrid
    from ...analysis.faithfulness import Curves, FaithfulnessTable, Randomisation

BASELINES = {"centre": "Centre (baseline)", "random": "Random (baseline)"}
"""Maps that know nothing of the model, and what they are called."""
FILLS = {"mean": "mean colour", "blur": "the picture blurred", "black": "black"}
OTHERS = 7
"""Most pictures that the randomisation check takes beside the one that is shown."""
SEEDS = (0, 1, 2)
"""Of random weights; of slow methods the first alone."""
IMAGES = 16
"""Most images of the table."""
LEAST_IMAGES = 4
SCORES = ("difference", "deletion", "insertion")
PLACED = ("pointing", "iou", "energy")


@dataclass(frozen=True, eq=False)
class Order:
    """What becomes of a score as the cells of a picture go in the order of one map."""

    curves: "Curves"
    grid: "CellGrid"
    rank: Int[np.ndarray, "row column"]
    """Of each cell: 0 for the most relevant."""
    beneath: UInt8[np.ndarray, "row column 3"]
    """What covered cells show, as a whole picture."""
    values: Float[np.ndarray, "row column"]
    """The map."""

    @property
    def n_covered(self) -> Int[np.ndarray, " step"]:
        """Cells that are covered at each step of `curves.share`."""
        return np.round(self.curves.share * self.rank.size).astype(int)


def order(
    job: "Job[Order]",
    checkpoint: "Checkpoint",
    decision: Decision,
    values: Float[np.ndarray, "row column"] | str,
    fill: str,
) -> Order:
    """Curves of deletion and insertion by a map, or by the baseline of that name."""
    from ...analysis.explain.perturbing import cell_grid, filling, ranking
    from ...analysis.faithfulness import baselines, deletion_insertion

    job.report(0)
    batch, target = decision.ask(checkpoint)
    if isinstance(values, str):
        maps = baselines.BASELINES[values](checkpoint, batch, np.arange(1))
    else:
        maps = values[np.newaxis]
    grid = cell_grid(checkpoint)
    curves = deletion_insertion(
        checkpoint, batch, maps, target, fill=fill, grid=grid, progress=job.report
    )
    cells = ranking(grid.means(maps))[0]
    rank = np.empty(len(cells), int)
    rank[cells] = np.arange(len(cells))
    beneath = _pixels(checkpoint, filling(checkpoint, batch, fill))
    return Order(curves, grid, rank.reshape(grid.shape), beneath, maps[0])


def _pixels(checkpoint: "Checkpoint", batch: Any) -> UInt8[np.ndarray, "row column 3"]:
    """What the model is given, as colours again."""
    mean, std = (
        np.array(part, float)[:, None, None]
        for part in (checkpoint.preprocessing.mean, checkpoint.preprocessing.std)
    )
    levels = (batch[0].double().cpu().numpy() * std + mean) * 255
    channels = levels[:3] if len(levels) >= 3 else np.repeat(levels[:1], 3, axis=0)
    return np.clip(np.round(channels), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def randomisation(
    job: "Job[Randomisation]",
    checkpoint: "Checkpoint",
    decision: Decision,
    method: str,
    options: Options,
    others: Pictures | None,
) -> "Randomisation":
    """The map beside those of the model with random weights, on this picture and some others.

    One picture alone is too little: two smooth maps agree by chance.
    """
    from ...analysis.explain import method_of, target_of
    from ...analysis.faithfulness import Explaining, randomisation_check

    job.report(0, "Reading the images")
    of, crops, target = method_of(method), decision.crop[None], decision.target
    if others is not None and not of.slow:
        more = others.crops(checkpoint, others.spread(min(OTHERS, images_for(checkpoint, others))))
        same = (more == decision.crop).all((1, 2, 3))
        crops = np.concatenate([crops, more[~same]])
    batch = checkpoint.prepare(crops)
    output = checkpoint.run(batch).clone()
    if target is None and isinstance(decision.against, int):
        # Another picture's prediction may be the class to tell it from.
        target = int(output[0].argmax())
    aim = target_of(checkpoint, output, target, against=decision.against)
    done = 0.0

    def tell(share: float) -> None:
        nonlocal done
        done = max(done, share)
        job.report(done, f"{of.long_name}, random weights")

    seeds = SEEDS[:1] if of.slow else SEEDS
    explainer = Explaining(method, aim, options, progress=lambda _: tell(done))
    return randomisation_check(
        checkpoint, batch, explainer, method=of.long_name, seeds=seeds, progress=tell
    )


@dataclass(frozen=True, eq=False)
class Many:
    """The table over many images."""

    table: "FaithfulnessTable"
    n_images: int


def images_for(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """Of how many pictures the table is: fewer for larger checkpoints."""
    share = sizes.images_for(checkpoint, pictures) / sizes.IMAGES
    return min(pictures.n, max(LEAST_IMAGES, round(IMAGES * share)))


def many(
    job: "Job[Many]",
    checkpoint: "Checkpoint",
    pictures: Pictures,
    methods: Sequence[str],
    options: Mapping[str, Options],
    *,
    against: str | None,
    fill: str,
) -> Many:
    """Each method on the same images, every image's own prediction explained."""
    from ...analysis.faithfulness import compare_explanations
    from ...models.demo.scenes import HELD_OUT, scene

    job.report(0, "Reading the images")
    places = pictures.spread(images_for(checkpoint, pictures))
    crops = pictures.crops(checkpoint, places)
    masks = None
    if pictures.key == "scenes":
        masks = np.stack([scene_mask(scene(HELD_OUT[place]), checkpoint) for place in places])
    table = compare_explanations(
        checkpoint,
        checkpoint.prepare(crops),
        list(methods),
        masks=masks,
        options=options,
        against=against,
        scores=[*SCORES, *(PLACED if masks is not None else ())],
        baselines=tuple(BASELINES),
        fill=fill,
        progress=job.report,
    )
    return Many(table, len(crops))


def placed(
    values: Float[np.ndarray, "row column"], mask: Bool[np.ndarray, "row column"]
) -> dict[str, float]:
    """How well a map finds what a mask marks, by name of the score."""
    from ...analysis.faithfulness import energy_in_mask, iou, pointing_game

    scores = zip(PLACED, (pointing_game, iou, energy_in_mask), strict=True)
    return {name: float(of(values[None], mask[None])[0]) for name, of in scores}


def mask_of(
    photograph: "Photograph | None", checkpoint: "Checkpoint"
) -> "Bool[np.ndarray, 'row column'] | None":
    """Of a picture that is a scene of the demo: the objects that its class is about."""
    from ...models.demo.scenes import scene

    named = photograph and re.fullmatch(r"scene-(\d+)", photograph.name)
    if not photograph or not named:
        return None
    drawn = scene(int(named[1]))
    if not np.array_equal(drawn.image, photograph.pixels):  # another picture of that name
        return None
    return scene_mask(drawn, checkpoint)


def scene_mask(drawn: Any, checkpoint: "Checkpoint") -> Bool[np.ndarray, "row column"]:
    """The objects that the class of a scene is about, as the model sees them."""
    from ...analysis.faithfulness import read_mask, scene_masks

    mask = scene_masks([drawn])[0]
    return read_mask(np.repeat(mask[..., None], 3, -1).astype(np.uint8) * 255, checkpoint)
