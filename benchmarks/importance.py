"""Leave-one-head-out importance beside the naive hook loop, in one run.

    python benchmarks/importance.py [ARCHITECTURE …] [--images N] [--repeats N]

The naive loop is what a user writes: for each head a hook zeroes its columns of the projection's
input, and the whole model runs again. Both sides see the same images, in float32, with as many
threads; they are timed in turn, and the ratio is that of the medians.
"""

import argparse
import statistics
import time

import numpy as np
import timm
import torch

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.models.replay import Replay


@torch.inference_mode()
def naive(model: torch.nn.Module, batch: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Drop of the target's probability, `image layer head`, by one whole forward pass a head."""

    def probability() -> torch.Tensor:
        return model(batch).softmax(-1).gather(1, target[:, None])[:, 0]

    clean, drops = probability(), []
    for block in model.blocks:
        attention, of_layer = block.attn, []
        for head in range(attention.num_heads):
            columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)

            def zero(_module, args, columns=columns):
                joined = args[0].clone()
                joined[..., columns] = 0
                return (joined,)

            handle = attention.proj.register_forward_pre_hook(zero)
            of_layer.append(clean - probability())
            handle.remove()
        drops.append(torch.stack(of_layer, 1))
    return torch.stack(drops, 1).numpy()


def ours(checkpoint: hs.Checkpoint, batch: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """The same through headscope."""
    metric = importance_metrics(checkpoint)["probability_drop"]
    layers = head_importance(Replay(checkpoint, batch), target, "zero", [metric])
    return torch.stack([scores["probability_drop"] for _, scores in layers], 1).numpy()


def compare(name: str, n_images: int, repeats: int) -> str:
    """One line: both times, their ratio, and how far the results are apart."""
    checkpoint = hs.load(name, pretrained=False)
    size = checkpoint.preprocessing.size
    batch = torch.randn(n_images, 3, *size, generator=torch.Generator().manual_seed(0))
    target = checkpoint.run(batch).argmax(-1)
    seconds: dict[str, list[float]] = {"naive": [], "headscope": []}
    results = {}
    for _ in range(repeats):
        for side, run, subject in (
            ("naive", naive, checkpoint.model),
            ("headscope", ours, checkpoint),
        ):
            start = time.perf_counter()
            results[side] = run(subject, batch, target)
            seconds[side].append(time.perf_counter() - start)
    slow, fast = (statistics.median(seconds[side]) for side in ("naive", "headscope"))
    difference = np.abs(results["naive"] - results["headscope"]).max()
    largest = np.abs(results["naive"]).max()
    return (
        f"{name}: {sum(checkpoint.n_heads)} heads, {n_images} image(s): naive {slow:.2f} s, "
        f"headscope {fast:.2f} s, ratio {slow / fast:.2f}; largest difference {difference:.1e}, "
        f"{difference / largest:.1e} of the largest score"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "architectures",
        nargs="*",
        default=["vit_base_patch16_224", "deit_small_patch16_224", "demo/supervised"],
    )
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for name in options.architectures:
        print(compare(name, options.images, options.repeats), flush=True)


if __name__ == "__main__":
    main()
