"""The exact loop: each head ablated in turn, and the model run again from its layer on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.ablations import StandIns, ablation, layouts_of
from ...models.replay import Replay
from .budget import ELEMENTS_AT_ONCE
from .metrics import ImportanceMetric
from .outputs import Outputs


def head_importance(
    replay: Replay,
    target: Int[Tensor, " image"],
    mode: str,
    metrics: Sequence[ImportanceMetric],
    *,
    stand_ins: StandIns | None = None,
    label: Int[Tensor, " image"] | None = None,
    heads: Bool[np.ndarray, "layer head"] | None = None,
    at_once: int | None = None,
) -> Iterator[tuple[int, dict[str, Float[Tensor, "image head"]]]]:
    """Ablate each head in turn; give one layer's scores at a time, float64.

    Args:
        replay: the clean pass.
        target: class index of each image; -1 for a model without classes.
        mode: the ablation's name. A layer that it says nothing about gives NaN.
        metrics: what is read of the outputs.
        stand_ins: `HeadStatistics.of` the batch, for modes that compare with other images.
        label: class index of what is in each image, for metrics that need it; -1: unknown.
        heads: those to ablate; the others give NaN. None: all.
        at_once: ablations that run as one batch; None: as many as are fast (`budget`).
    """
    checkpoint, chosen = replay.checkpoint, ablation(mode)
    for layer, n_heads in enumerate(checkpoint.n_heads):
        attention = replay.attention(layer)
        wanted = torch.arange(n_heads)
        if heads is not None:
            wanted = wanted[torch.from_numpy(heads[layer, :n_heads])]
        nothing = torch.full((n_heads, replay.n_images), torch.nan, dtype=torch.double)
        if chosen.why_not(*layouts_of(attention)) or not len(wanted):
            yield layer, {metric.name: nothing.T for metric in metrics}
            continue
        clean, layout = attention.head_output, replay.rows(layer)
        clean_layer, clean_model = replay.layer_output(layer).double(), replay.output.double()
        n_at_once = at_once or max(1, ELEMENTS_AT_ONCE // clean.numel())
        parts: dict[str, list[Tensor]] = {metric.name: [] for metric in metrics}
        for chunk in wanted.split(n_at_once):
            changed = clean.expand(len(chunk), *clean.shape).clone()
            for variant, head in enumerate(chunk.tolist()):
                chosen.edit(changed[variant], attention, [head], stand_ins)
            ablated_layer, ablated_model = replay.resume(layer, changed)
            outputs = Outputs(
                clean_layer,
                ablated_layer.double(),
                clean_model,
                ablated_model.double(),
                target,
                layout,
                label,
            )
            for metric in metrics:
                parts[metric.name].append(metric.compute(outputs))
        attention.forget_maps()  # cuts look at them
        yield (
            layer,
            {
                name: nothing.index_copy(0, wanted, torch.cat(scores).cpu()).T
                for name, scores in parts.items()
            },
        )
