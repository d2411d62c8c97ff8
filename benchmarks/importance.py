"""Leave-one-head-out importance beside the naive hook loop, in one run.

    python benchmarks/importance.py [CHECKPOINT …] [--images N] [--repeats N]

The naive loop is what a user writes: for each head a hook zeroes its columns of the projection's
input, and the whole model runs again. All sides see the same images (scenes for `demo/`, noise for
others, which have random weights) with as many threads; they are timed in turn, and ratios are
those of medians. bfloat16 and the one-backward estimate come with their rank correlation with the
exact scores.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import timm
import torch
from scipy.stats import spearmanr

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.analysis.importance.estimate import check, estimate_importance
from headscope.models.demo.scenes import scene
from headscope.models.replay import Replay


@torch.inference_mode()
def naive(checkpoint: hs.Checkpoint, batch: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Drop of the target's probability, `image layer head`, by one whole forward pass a head.

    For models whose attention ends in a projection called `proj`, as timm's do.
    """
    model = checkpoint.model

    def probability() -> torch.Tensor:
        return model(batch).softmax(-1).gather(1, target[:, None])[:, 0]

    clean = probability()
    drops = torch.full(
        (len(batch), checkpoint.n_layers, max(checkpoint.n_heads)), torch.nan, dtype=torch.double
    )
    for layer in checkpoint.layers:
        projection = model.get_submodule(f"{layer.module}.proj")
        width = projection.in_features // layer.n_heads
        for head in range(layer.n_heads):
            columns = slice(head * width, (head + 1) * width)

            def zero(_module, args, columns=columns):
                joined = args[0].clone()
                joined[..., columns] = 0
                return (joined,)

            handle = projection.register_forward_pre_hook(zero)
            drops[:, layer.index, head] = clean - probability()
            handle.remove()
    return drops.numpy()


def ours(checkpoint: hs.Checkpoint, batch: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """The same through headscope, in the precision that the checkpoint was loaded for."""
    metric = importance_metrics(checkpoint)["probability_drop"]
    drops = np.full((len(batch), checkpoint.n_layers, max(checkpoint.n_heads)), np.nan)
    for layer, scores in head_importance(Replay(checkpoint, batch), target, "zero", [metric]):
        drops[:, layer, : checkpoint.n_heads[layer]] = scores["probability_drop"]
    return drops


def images_for(checkpoint: hs.Checkpoint, n_images: int) -> torch.Tensor:
    """Scenes for a demo checkpoint, noise for any other."""
    if checkpoint.name.startswith("demo/"):
        crops = [scene(10_000_000 + index).image for index in range(n_images)]
        return checkpoint.prepare(np.stack(crops))
    noise = torch.Generator().manual_seed(0)
    return torch.randn(n_images, 3, *checkpoint.preprocessing.size, generator=noise)


def in_turn(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each side, run one after the other, `repeats` times round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def agreement(scores: np.ndarray, exact: np.ndarray) -> str:
    """Rank correlation and largest difference."""
    there = ~np.isnan(exact[0])
    pairs = [*zip(scores, exact, strict=True), (scores.mean(0), exact.mean(0))]
    *of_images, of_means = np.array([spearmanr(a[there], b[there])[0] for a, b in pairs])
    difference = np.nanmax(np.abs(scores - exact))
    return (
        f"Spearman {of_means:.5f} (least of images {min(of_images):.5f}), largest difference "
        f"{difference:.1e}, {difference / np.nanmax(np.abs(exact)):.1e} of the largest score"
    )


def compare(name: str, n_images: int, repeats: int) -> list[str]:
    """Lines of text: times, ratios, and how far the results are apart."""
    checkpoint = hs.load(name, pretrained=False)
    batch = images_for(checkpoint, n_images)
    target = checkpoint.run(batch).argmax(-1)
    subjects = {"float32": checkpoint}
    lines = [f"{name}: {sum(checkpoint.n_heads)} heads, {n_images} image(s)"]
    try:
        subjects["bfloat16"] = hs.load(name, pretrained=False, precision="bfloat16")
    except hs.HeadscopeError as error:
        lines.append(f"  bfloat16 left out: {error}")
    exact = naive(checkpoint, batch, target)
    scores = {side: ours(subject, batch, target) for side, subject in subjects.items()}
    seconds = in_turn(
        {"naive": lambda: naive(checkpoint, batch, target)}
        | {
            side: lambda subject=subject: ours(subject, batch, target)
            for side, subject in subjects.items()
        },
        repeats,
    )
    lines.append(f"  naive hook loop: {seconds['naive']:.2f} s")
    for side, of_side in scores.items():
        ratio = seconds["naive"] / seconds[side]
        lines.append(f"  {side}: {seconds[side]:.2f} s, ratio {ratio:.2f}")
        lines.append(f"    {agreement(of_side, exact)}")

    estimates = {
        steps: estimate_importance(checkpoint, batch, target, steps=steps) for steps in (0, 8)
    }
    short = in_turn(
        {
            "forward": lambda: checkpoint.run(batch),
            "estimate": lambda: estimate_importance(checkpoint, batch, target),
        },
        2 * repeats + 1,
    )
    passes = short["estimate"] / short["forward"]
    lines.append(f"  one backward for all heads: {passes:.1f} forward passes")
    for steps, estimate in estimates.items():
        lines.append(f"    {steps} steps: {check(estimate, exact).describe()}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "checkpoints",
        nargs="*",
        default=[
            "demo/supervised",
            "deit_tiny_patch16_224",
            "vit_base_patch16_224",
            "swin_tiny_patch4_window7_224",
            "crossvit_tiny_240",
        ],
    )
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for name in options.checkpoints:
        print(*compare(name, options.images, options.repeats), sep="\n", flush=True)


if __name__ == "__main__":
    main()
