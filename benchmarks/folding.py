"""What the statistics of a study cost beside a forward pass, measured alternately in one run.

    python benchmarks/folding.py [--model NAME] [--threads N] [--images N] [--rounds N] [--each]

(a) is a forward pass, (b) one whose attention maps are all computed (capture), (c) one with every
metric that a study takes by default folded in: of attention, hidden states and all images together,
as `hs.analyze(…, importance=False)` runs it. The ratio is (c − b) / a: what all statistics cost
beyond capture, in forward passes. With --each, also what each metric costs by itself, so those that
share something with another look dearer than they are together.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import headscope as hs
from headscope.analysis.folding import Folding
from headscope.analysis.selected import select
from headscope.models.capture import LayerAttention, watch

TARGET = 1.0


def capture(checkpoint: hs.Checkpoint, batch: torch.Tensor) -> None:
    def look(layer: LayerAttention) -> None:
        _ = layer.window_weights

    watch(checkpoint, batch, look)


def folding_of(checkpoint: hs.Checkpoint, names: list[str] | None) -> Folding:
    selected = select(checkpoint, metrics=names, ablations=(), importance=False, labelled=False)
    return Folding(checkpoint, selected)


def medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way; they take turns, so that what slows the machine slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=1, help="in a batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--each", action="store_true", help="also each metric by itself")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = hs.load(options.model, pretrained=False)
    noise = torch.Generator().manual_seed(0)
    batch = checkpoint.batch(
        torch.randn(
            options.images,
            checkpoint.preprocessing.channels,
            *checkpoint.preprocessing.size,
            generator=noise,
        )
    )
    every = folding_of(checkpoint, None)
    ways: dict[str, Callable[[], object]] = {
        "forward": lambda: checkpoint.run(batch),
        "capture": lambda: capture(checkpoint, batch),
        "statistics": lambda: every.run(batch),
    }
    if options.each:
        chosen = select(checkpoint, metrics=None, ablations=(), importance=False, labelled=False)
        for name in chosen.names:
            alone = folding_of(checkpoint, [name])
            ways[name] = lambda alone=alone: alone.run(batch)
    found = medians(ways, options.rounds)
    a, b, c = (found[name] for name in ("forward", "capture", "statistics"))
    print(
        f"{options.model}, {options.images} image(s), {options.threads} threads, median of "
        f"{options.rounds}: forward {a:.3f} s, capture {b:.3f} s, all statistics {c:.3f} s"
    )
    alone = {name: seconds for name, seconds in found.items() if name not in list(ways)[:3]}
    for name, seconds in sorted(alone.items(), key=lambda each: -each[1]):
        print(f"  {name:24} {(seconds - b) / a:6.3f} forward passes beyond capture, alone")
    print(f"ratio (statistics − capture) / forward {(c - b) / a:.3f} (at most {TARGET})")


if __name__ == "__main__":
    main()
