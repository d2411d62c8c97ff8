"""Exact head importance beside peers: captum over a head mask, a TransformerLens-style loop.

    python benchmarks/peers.py [CHECKPOINT …] [--images N] [--repeats N]

Neither peer has head importance for timm's models ready made; each is written as its users do:
`captum.attr.FeatureAblation` over a mask of ones, one for each head, that multiplies head outputs;
and, after TransformerLens and ViT-Prisma, a cache of every `hook_z` and one patched run a head.
All in float32, on the same images, timed in turn. Peak memory is that of a process of its own,
above what it held before it began.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from importance import images_for, in_turn, ours

import headscope as hs

PER_EVALUATION = 12
"""Ablations that captum runs in one batch: as many as a layer of ViT-B/16 has heads."""

Side = Callable[[hs.Checkpoint, torch.Tensor, torch.Tensor], np.ndarray]


def probability(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return logits.softmax(-1).gather(1, target[:, None])[:, 0]


@torch.no_grad()
def captum_ablation(
    checkpoint: hs.Checkpoint, batch: torch.Tensor, target: torch.Tensor
) -> np.ndarray:
    """Drop of the target's probability, `image layer head`, by captum."""
    from captum.attr import FeatureAblation

    model, shape = checkpoint.model, (checkpoint.n_layers, checkpoint.n_heads[0])

    def forward(mask: torch.Tensor) -> torch.Tensor:
        # Captum stacks its variants in front: images of one variant stay together.
        n_variants = len(mask) // len(batch)
        handles = []
        for block, of_layer in zip(model.blocks, mask.unflatten(1, shape).unbind(1), strict=True):

            def times(_module, args, of_layer=of_layer):
                by_head = args[0].unflatten(-1, (shape[1], -1))
                return ((by_head * of_layer[:, None, :, None]).flatten(-2),)

            handles.append(block.attn.proj.register_forward_pre_hook(times))
        try:
            logits = model(batch.repeat(n_variants, 1, 1, 1))
        finally:
            for handle in handles:
                handle.remove()
        return probability(logits, target.repeat(n_variants))

    ones = torch.ones(len(batch), shape[0] * shape[1])
    found = FeatureAblation(forward).attribute(ones, perturbations_per_eval=PER_EVALUATION)
    return found.unflatten(1, shape).numpy()


@torch.inference_mode()
def patching(checkpoint: hs.Checkpoint, batch: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """The same by `run_with_cache` and one `run_with_hooks` a head."""
    model, cache = checkpoint.model, {}

    def run_with_hooks(hooks: dict[int, Callable[[torch.Tensor], torch.Tensor]]) -> torch.Tensor:
        def wrap(hook, _module, args):
            return (hook(args[0].unflatten(-1, (n_heads, -1))).flatten(-2),)

        handles = [
            model.blocks[layer].attn.proj.register_forward_pre_hook(partial(wrap, hook))
            for layer, hook in hooks.items()
        ]
        logits = model(batch)
        for handle in handles:
            handle.remove()
        return probability(logits, target)

    def keep(layer: int, z: torch.Tensor) -> torch.Tensor:
        cache[layer] = z
        return z

    def patch(layer: int, head: int, _z: torch.Tensor) -> torch.Tensor:
        z = cache[layer].clone()
        z[:, :, head] = 0
        return z

    n_layers, n_heads = checkpoint.n_layers, checkpoint.n_heads[0]
    clean = run_with_hooks({layer: partial(keep, layer) for layer in range(n_layers)})
    scores = torch.empty(len(batch), n_layers, n_heads)
    for layer in range(n_layers):
        for head in range(n_heads):
            scores[:, layer, head] = clean - run_with_hooks({layer: partial(patch, layer, head)})
    return scores.numpy()


SIDES: dict[str, Side] = {
    "headscope": ours,
    "captum FeatureAblation": captum_ablation,
    "hook_z patching": patching,
}


def peak_bytes() -> int:
    """The largest resident set of this process so far. (ru_maxrss counts its parent's too.)"""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def setting(name: str, n_images: int) -> tuple[hs.Checkpoint, torch.Tensor, torch.Tensor]:
    checkpoint = hs.load(name, pretrained=False)
    batch = images_for(checkpoint, n_images)
    return checkpoint, batch, checkpoint.run(batch).argmax(-1)


def growth(name: str, n_images: int, side: str) -> int:
    """Bytes by which the peak grows while a side runs, in a new process."""
    command = [sys.executable, __file__, name, "--images", str(n_images), "--side", side]
    return int(subprocess.check_output(command).splitlines()[-1])


def compare(name: str, n_images: int, repeats: int) -> list[str]:
    subject = setting(name, n_images)
    sides = {side: partial(run, *subject) for side, run in SIDES.items()}
    scores = {side: run() for side, run in sides.items()}
    seconds = in_turn(sides, repeats)
    lines = [f"{name}: {sum(subject[0].n_heads)} heads, {n_images} image(s)"]
    for side in sides:
        difference = np.abs(scores[side] - scores["headscope"]).max()
        lines.append(
            f"  {side}: {seconds[side]:.2f} s ({seconds[side] / seconds['headscope']:.2f} times "
            f"ours), peak memory +{growth(name, n_images, side) / 1e6:.0f} MB, largest difference "
            f"from ours {difference:.1e}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "checkpoints", nargs="*", default=["demo/supervised", "vit_base_patch16_224"]
    )
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        subject = setting(options.checkpoints[0], options.images)
        before = peak_bytes()
        SIDES[options.side](*subject)
        print(peak_bytes() - before)
        return
    try:
        import captum
    except ImportError:
        SIDES.pop("captum FeatureAblation")
        print("captum is not installed and is left out: python -m pip install captum")
    else:
        print(f"captum {captum.__version__}, torch {torch.__version__}")
    for name in options.checkpoints:
        print(*compare(name, options.images, options.repeats), sep="\n", flush=True)


if __name__ == "__main__":
    main()
