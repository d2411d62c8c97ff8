"""One checkpoint on one set of images: the front door of the analysis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..models.ablations import HeadStatistics, ablation
from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from ..models.images import one_or_many
from .folding import Folding, by_layer
from .importance import head_importance
from .importance.budget import Budget
from .labels import Labels, label_indices
from .selected import Selected, select
from .sources import Image, Source, find_sources
from .study import Study
from .writer import N_RANKED, StudyWriter, metrics_begun_with

ABLATIONS = ("zero",)
"""What is done to each head unless something else is asked for."""


@dataclass(frozen=True)
class Progress:
    """How far an analysis is."""

    done: float
    """Images, with the part of the current one."""
    total: int
    text: str


def analyze(
    checkpoint: Checkpoint,
    images: Image | Iterable[Image],
    *,
    target: int | str | None = None,
    ablations: Sequence[str] = ABLATIONS,
    metrics: Sequence[str] | None = None,
    importance: bool = True,
    labels: Labels | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    on_unreadable: Callable[[Image, HeadscopeError], None] | None = None,
) -> Study:
    """Head importance and attention metrics of a checkpoint on a set of images.

    Args:
        checkpoint: from `load`.
        images: one or several, paths or photographs. A path is read when its turn comes, so memory
            does not grow with the number of images.
        target: class that importance is about, by index or label; None: each image's own
            prediction.
        ablations: what is done to each head in turn, by name. Those that compare with other images
            (mean, resample, noise) take the images of the study, in one more pass.
        metrics: names of metrics, of importance, attention, hidden states or all images together;
            `"default"` among them stands for those that None takes: all that apply, but the costly.
        importance: False leaves out the ablations, which take most of the time.
        labels: what is really in the images, as `labels.Labels`: for accuracy and for means by
            class.
        out: where the study is written as it grows. The same call goes on with a study that was
            interrupted. None keeps it in memory.
        batch_size: images in one forward pass; by default as many as are fast, within `memory`.
        memory: bytes below which the process is to stay (`budget.parse_bytes` reads `"4GB"`).
        seed: of what is drawn at random: which image stands in for which, and noise.
        progress: told after each layer; whatever it raises stops the analysis, and the study keeps
            the images that are done.
        on_unreadable: told of each image that cannot be read, before anything is computed; unless
            it raises, the image is left out. None: the first one ends the analysis.

    Raises:
        HeadscopeError: an image, a label, the target, a metric or an ablation is not there or does
            not fit the checkpoint, or `out` cannot be used.
    """
    wanted = None if target is None else checkpoint.class_index(target)
    if metrics is None:
        metrics = metrics_begun_with(out, importance=importance, labelled=labels is not None)
    selected = select(
        checkpoint,
        metrics=metrics,
        ablations=ablations,
        importance=importance,
        labelled=labels is not None,
    )
    given = one_or_many(images)

    def checking(place: int) -> None:
        if progress is not None:
            text = f"checking image {place + 1} of {len(given)}"
            progress(Progress(0, len(given), text))

    sources = find_sources(given, checking, on_unreadable)
    if selected.compares and len({source.digest for source in sources}) < 2:
        raise HeadscopeError(
            f"The ablation {selected.compares[0]!r} compares with the other images of the study, "
            "and there is none; give at least two that differ, or choose another ablation."
        )
    label = None if labels is None else label_indices(checkpoint, labels, sources)
    settings: dict[str, Any] = {
        "target": wanted,
        "ablations": list(selected.ablations),
        "seed": seed,
        "metrics": list(selected.names),
        "labels": label,
    }
    writer = StudyWriter.open(
        out,
        checkpoint,
        {source.name: (source.digest, source.path) for source in sources},
        settings,
        selected,
    )
    to_do = writer.to_do
    n_before = len(sources) - len(to_do)
    budget = Budget.of(checkpoint, memory, batch_size)
    size = budget.images_at_once

    def crops_of(indices: Sequence[int]) -> UInt8[np.ndarray, "image row column 3"]:
        return np.stack([checkpoint.crop(sources[index].photograph()) for index in indices])

    reference = None
    if selected.compares and to_do:

        def comparing(done: int) -> None:
            if progress is not None:
                text = f"reading image {done} of {len(sources)}, to compare with"
                progress(Progress(n_before, len(sources), text))

        # Made anew when a study is gone on with: of the same images, in the same batches.
        reference = HeadStatistics.over(
            checkpoint,
            len(sources),
            lambda indices: checkpoint.prepare(crops_of(indices)),
            seed=seed,
            batch_size=size,
            on_batch=comparing,
        )
    folding = Folding(checkpoint, selected)
    done = sorted(set(range(len(sources))) - set(to_do))
    for start in range(0, len(done), size) if writer.lacks_across else ():
        indices = done[start : start + size]
        if progress is not None:
            text = f"reading image {start + 1} of {len(done)} that are done, for numbers of all"
            progress(Progress(n_before, len(sources), text))
        folding.again(checkpoint.prepare(crops_of(indices)))
    for start in range(0, len(to_do), size):
        indices = to_do[start : start + size]
        batch = [sources[index] for index in indices]

        def tell(share: float, start: int = start, batch: list[Source] = batch) -> None:
            if progress is not None:
                more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
                done = n_before + start + share * len(batch)
                progress(Progress(done, len(sources), batch[0].name + more))

        tell(0)
        results = _analyze_batch(
            checkpoint,
            crops_of(indices),
            wanted,
            None if label is None else [label[index] for index in indices],
            selected,
            folding,
            reference,
            budget,
            tell,
        )
        for position, index in enumerate(indices):
            writer.write(index, {name: values[position] for name, values in results.items()})
        tell(1)
    if writer.lacks_across:
        writer.write_across(folding.finish())
    return writer.study


def _analyze_batch(
    checkpoint: Checkpoint,
    crops: UInt8[np.ndarray, "image row column 3"],
    target: int | None,
    label: Sequence[int] | None,
    selected: Selected,
    folding: Folding,
    reference: HeadStatistics | None,
    budget: Budget,
    tell: Callable[[float], None],
) -> Mapping[str, Any]:
    """All results of a few images, by the name of the variable; the first axis is the image."""
    batch = checkpoint.prepare(crops)
    replay, folded = folding.run(batch)
    results: dict[str, Any] = folded | {"pixels": crops}
    targets = torch.full((len(crops),), -1, device=replay.output.device)
    if checkpoint.has_classes:
        probabilities = replay.output.double().softmax(-1)
        top = probabilities.topk(min(N_RANKED, len(checkpoint.labels)))
        targets = top.indices[:, 0] if target is None else torch.full_like(targets, target)
        results |= {
            "target": targets.cpu(),
            "target_probability": probabilities.gather(1, targets[:, None])[:, 0].cpu(),
            "top_class": top.indices.cpu(),
            "top_probability": top.values.cpu(),
        }
    labels = None if label is None else torch.tensor(label, device=targets.device)
    if label is not None:
        results["label"] = label
    stand_ins = None if reference is None else reference.of(batch)
    scores: dict[str, list[Float[np.ndarray, "image layer head"]]] = {}
    for index, mode in enumerate(selected.ablations):
        needed = stand_ins if ablation(mode).needs else None
        of_layers: dict[str, list[Tensor]] = {name: [] for name in selected.importance}
        metrics = list(selected.importance.values())
        for layer, of_layer in head_importance(
            replay,
            targets,
            mode,
            metrics,
            stand_ins=needed,
            label=labels,
            at_once=budget.variants_at_once,
        ):
            for name, values in of_layer.items():
                of_layers[name].append(values)
            # The whole is told once it is written.
            steps = len(selected.ablations) * checkpoint.n_layers + 1
            tell((index * checkpoint.n_layers + layer + 1) / steps)
        for name, layers in of_layers.items():
            scores.setdefault(name, []).append(by_layer(layers))
    return results | {name: np.stack(modes, axis=1) for name, modes in scores.items()}
