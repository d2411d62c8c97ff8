"""How many images it takes to know the ten most important heads, of 1,000 demo scenes.

    python benchmarks/until.py [CHECKPOINT …] [--images N] [--seeds N] [--top K] [--stress N]

The full run leaves out every head on every image. A race looks at images in a random order and
stops when the top heads are known at 95 %. One race a metric runs live, beside the full run, for
the time; the others, one a seed, look their scores up in the full run's. `--stress` asks whether
the 95 % hold on real scores: races on N sets of as many scenes, drawn from these with replacement,
so that the heads at the edge differ from set to set.
"""

import argparse
import math
import time

import numpy as np
import torch

import headscope as hs
from headscope.analysis.importance.evidence import draw_order, uncertainty
from headscope.analysis.importance.race import Race, run_until
from headscope.models.demo.scenes import HELD_OUT, scene
from headscope.models.replay import Replay

BATCH = 10
BOUNDS = {"js_divergence": math.log(2), "probability_drop": 1.0}
WAYS = {
    "uncertain images first": {},
    "uncertain first, indifference 0.01": {"indifference": 0.01},
    "uniform order": {},
    "uniform, bounded (any scores)": {"bound": True},
}


def scores_of(checkpoint, batch, active):
    """Scores of the active heads, metric → `image layer head`, NaN for the others."""
    replay = Replay(checkpoint, batch)
    p = replay.output.double().softmax(-1)
    target = p.argmax(-1)
    scores = {name: np.full((len(batch), *active.shape), np.nan) for name in BOUNDS}
    entropy = torch.special.entr
    for layer in np.flatnonzero(active.any(1)):
        heads, clean = np.flatnonzero(active[layer]), replay.heads(layer)
        ablated = clean.expand(len(heads), *clean.shape).clone()
        for variant, head in enumerate(heads):
            ablated[variant, :, head] = 0
        q = replay.resume(layer, ablated)[1].double().softmax(-1)
        js = entropy((p + q) / 2).sum(-1) - (entropy(p).sum(-1) + entropy(q).sum(-1)) / 2
        drop = (p - q).gather(-1, target.expand(len(q), -1)[..., None])[..., 0]
        scores["js_divergence"][:, layer, heads] = js.T.cpu()
        scores["probability_drop"][:, layer, heads] = drop.T.cpu()
    return scores


def clean_logits(checkpoint, images):
    parts = images.split(BATCH)
    return np.concatenate([checkpoint.run(part).double().cpu().numpy() for part in parts])


def top(mean, k):
    order = np.argsort(-mean, axis=None, kind="stable")[:k]
    return [tuple(map(int, np.unravel_index(place, mean.shape))) for place in order]


def timed_side_by_side(checkpoint, images, k):
    """The full run and one live race, with the time of each; all scores, and the clean logits."""
    present = np.ones((checkpoint.n_layers, max(checkpoint.n_heads)), bool)
    start = time.perf_counter()
    parts = [scores_of(checkpoint, part, present) for part in images.split(BATCH)]
    full = time.perf_counter() - start
    scores = {name: np.concatenate([part[name] for part in parts]) for name in BOUNDS}

    start = time.perf_counter()
    logits = clean_logits(checkpoint, images)
    clean = time.perf_counter() - start
    for name in BOUNDS:
        race = Race(present, draw_order(len(images), uncertainty(logits)), k)
        start = time.perf_counter()

        def score(index, active, name=name):
            return scores_of(checkpoint, images[torch.from_numpy(index)], active)[name]

        result = run_until(score, race, batch=BATCH)
        seconds = time.perf_counter() - start
        print(
            f"  live, {name}: full run {full:.1f} s; clean pass of all images {clean:.1f} s and "
            f"race {seconds:.1f} s ({result.n_images} images), {full / (clean + seconds):.1f} "
            "times faster",
            flush=True,
        )
    return scores, logits


def race_over(scores, weights, seed, k, options):
    race = Race(np.isfinite(scores[0]), draw_order(len(scores), weights, seed), k, **options)
    return run_until(lambda index, _: scores[index], race, batch=BATCH)


def edge(scores, k):
    """The gap at the edge, and what it takes by normal theory in uniform order at 95 %."""
    flat = scores.reshape(len(scores), -1)
    order = np.argsort(-flat.mean(0))
    difference = flat[:, order[k - 1]] - flat[:, order[k]]
    n = (1.645 * difference.std() / difference.mean()) ** 2
    n = n / (1 + n / len(scores))
    return (
        f"heads {k} and {k + 1} score {flat.mean(0)[order[k - 1]]:.2g} and "
        f"{flat.mean(0)[order[k]]:.2g}; telling these two apart alone, in uniform order and with "
        f"one look, takes {n:.0f} images"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=["demo/supervised"])
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--stress", type=int, default=0)
    options = parser.parse_args()
    for name in options.checkpoints:
        checkpoint = hs.load(name)
        crops = np.stack([scene(seed).image for seed in HELD_OUT[: options.images]])
        images = torch.cat([checkpoint.prepare(part) for part in np.array_split(crops, 20)])
        print(f"{name}, {len(images)} scenes, {sum(checkpoint.n_heads)} heads", flush=True)
        scores, logits = timed_side_by_side(checkpoint, images, options.top)
        for metric, bound in BOUNDS.items():
            report(metric, scores[metric], uncertainty(logits), bound, options)


def report(metric, scores, weights, bound, options) -> None:
    print(f"  {metric}: {edge(scores, options.top)}")
    full, n = set(top(scores.mean(0), options.top)), len(scores)
    for way, settings in WAYS.items():
        settings = {**settings, **({"bound": bound} if "bound" in settings else {})}
        used = weights if way.startswith("uncertain") else None
        results = [
            race_over(scores, used, seed, options.top, settings) for seed in range(options.seeds)
        ]
        images = np.array([result.n_images for result in results])
        same = sum(set(result.top) == full for result in results)
        share = np.mean([result.share_of_ablations for result in results])
        print(
            f"    {way}: {np.median(images):.0f} images of {n} (from {images.min()} to "
            f"{images.max()}), {share:.1%} of the ablations; the full run's {options.top} heads in "
            f"{same} of {options.seeds} races",
            flush=True,
        )
        if options.stress and "indifference" not in settings:
            wrong = 0
            for seed in range(options.stress):
                drawn = np.random.default_rng([seed, 1]).integers(n, size=n)
                result = race_over(
                    scores[drawn],
                    None if used is None else used[drawn],
                    seed,
                    options.top,
                    settings,
                )
                wrong += set(result.top) != set(top(scores[drawn].mean(0), options.top))
            print(
                f"      wrong in {wrong} of {options.stress} resampled sets of scenes", flush=True
            )


if __name__ == "__main__":
    main()
