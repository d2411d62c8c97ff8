"""What explanations cost, and which of them are true to the model.

    python benchmarks/explanations.py [CHECKPOINT …] [--methods A,…] [--repeats N]
    python benchmarks/explanations.py --table [--images N] [--few N] [--methods A,…] [--scores A,…]

Without `--table`: every method that is not slow on one image of each checkpoint (random weights):
seconds, and the ratio to one forward and backward pass, timed in turn in the same run; then a batch
of 16 against the same images one by one, per image.

With `--table`: demo scenes that no checkpoint saw, with their masks (target and star, which the
class names both), through `demo/supervised`; the class explained is each scene's own. A Markdown
table of every method with intervals over the scenes, and which methods are clearly better than the
centre baseline. Slow methods, and scores that run a method again and again, see the first `--few`
scenes; the table says so.
"""

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import timm
import torch

import headscope as hs
from headscope.analysis.explain import explain, explanations
from headscope.analysis.faithfulness import FaithfulnessTable, compare_explanations, scene_masks
from headscope.analysis.faithfulness.curves import STEPS
from headscope.models.demo.scenes import HELD_OUT, scene
from headscope.models.interception import without_fast_path

TOGETHER = 16
"""Images of the batch that is compared with one by one."""


def images_for(checkpoint: hs.Checkpoint, n_images: int) -> torch.Tensor:
    """Scenes for a demo checkpoint, noise for any other."""
    if checkpoint.name.startswith("demo/"):
        return checkpoint.prepare(np.stack([scene(seed).image for seed in range(n_images)]))
    noise = torch.Generator().manual_seed(0)
    return torch.randn(n_images, 3, *checkpoint.preprocessing.size, generator=noise)


def one_pass(checkpoint: hs.Checkpoint, batch: torch.Tensor) -> None:
    """Forward and backward to the input: the unit in which methods are priced."""
    batch = batch.clone().requires_grad_()
    with checkpoint.lock, without_fast_path(), torch.enable_grad():
        output = checkpoint.readout(checkpoint.model(batch))
        torch.autograd.grad(output.max(-1).values.sum(), batch)


def in_turn(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each side, run one after the other, `repeats` times round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def cost(name: str, wanted: list[str] | None, repeats: int) -> list[str]:
    """Lines of text: what each method takes, alone and in a batch."""
    checkpoint = hs.load(name, pretrained=False)
    one, many = images_for(checkpoint, 1), images_for(checkpoint, TOGETHER)
    lines, fit = [f"{name}:"], []
    for method, of in explanations().items():
        if (wanted is None and of.slow) or (wanted is not None and method not in wanted):
            continue
        if why := of.why_not(checkpoint):
            lines.append(f"  {method} left out: {why}")
        else:
            fit.append(method)
    one_pass(checkpoint, one)  # what is made once is not part of it
    for method in fit:
        explain(checkpoint, one, method)
    seconds = in_turn(
        {"forward + backward": lambda: one_pass(checkpoint, one)}
        | {method: lambda method=method: explain(checkpoint, one, method) for method in fit},
        repeats,
    )
    unit = seconds["forward + backward"]
    lines.append(f"  one forward + backward pass: {unit:.3f} s")
    together = {}
    for method in fit:
        # Methods of hundreds of passes have their own batches of variants within one image.
        if seconds[method] > 10 * unit:
            continue
        together[method] = in_turn(
            {
                "batch": lambda method=method: explain(
                    checkpoint, many, method, batch_size=TOGETHER
                ),
                "alone": lambda method=method: [
                    explain(checkpoint, image[None], method) for image in many
                ],
            },
            max(1, repeats // 2),
        )
    for method in fit:
        line = f"  {method}: {seconds[method]:.2f} s, {seconds[method] / unit:.2f} passes"
        if method in together:
            batch, alone = together[method]["batch"], together[method]["alone"]
            line += (
                f"; of {TOGETHER} images {batch / TOGETHER:.3f} s each, one by one "
                f"{alone / TOGETHER:.3f} s, ratio {alone / batch:.2f}"
            )
        lines.append(line)
    total = sum(seconds[method] for method in fit)
    lines.append(f"  all {len(fit)} methods for one image: {total:.1f} s")
    return lines


def table(
    n_images: int, few: int, steps: int, wanted: list[str] | None, scores: list[str] | None
) -> FaithfulnessTable:
    """Faithfulness and localisation on held-out scenes."""
    checkpoint = hs.load("demo/supervised")
    scenes = [scene(seed) for seed in HELD_OUT[:n_images]]
    batch = checkpoint.prepare(np.stack([one.image for one in scenes]))
    labels = torch.tensor([one.label for one in scenes])
    predicted = torch.cat([checkpoint.run(part).argmax(-1) for part in batch.split(64)])
    right = float((predicted == labels).double().mean())
    print(f"{n_images} held-out scenes, {right:.1%} of them classified rightly", file=sys.stderr)
    start, told = time.perf_counter(), -60.0

    def progress(share: float, doing: str) -> None:
        nonlocal told
        seconds = time.perf_counter() - start
        if seconds - told >= 60:
            told = seconds
            print(f"{seconds:.0f} s, {share:.0%}: {doing}", file=sys.stderr, flush=True)

    return compare_explanations(
        checkpoint,
        batch,
        wanted,
        masks=scene_masks(scenes),
        target=labels,
        scores=scores,
        steps=steps,
        n_slow=few,
        n_costly=few,
        progress=progress,
    )


def clearly_better(found: FaithfulnessTable, baseline: str) -> list[str]:
    """One line a score: the methods whose paired interval lies on the better side."""
    paired = found.against(baseline)
    lines = []
    for column, score in enumerate(found.scores):
        side = paired.low[:, column] > 0 if score.better == "higher" else paired.high[:, column] < 0
        names = [
            f"{method} ({paired.mean[row, column]:+.3f})"
            for row, method in enumerate(found.methods)
            if side[row] and method not in found.baselines
        ]
        lines.append(f"{score.long_name}: {', '.join(names) or 'none'}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "checkpoints", nargs="*", default=["vit_base_patch16_224", "demo/supervised"]
    )
    parser.add_argument("--methods", metavar="A,…", type=lambda text: text.split(","))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--few", type=int, default=32)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the curves")
    parser.add_argument("--scores", metavar="A,…", type=lambda text: text.split(","))
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every mean with its interval")
    options = parser.parse_args()
    if options.table:
        found = table(options.images, options.few, options.steps, options.methods, options.scores)
        print(found.markdown())
        for baseline in found.baselines:
            print(f"\nClearly better than {baseline} (paired, {found.confidence:.0%}):\n")
            print(*(f"- {line}" for line in clearly_better(found, baseline)), sep="\n")
        if options.csv is not None:
            rows = found.rows()
            with options.csv.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for name in options.checkpoints:
        print(*cost(name, options.methods, options.repeats), sep="\n", flush=True)


if __name__ == "__main__":
    main()
