"""Patterns of a demo checkpoint: time of each stage, held-out error beside PCA, agreement of seeds.

    python benchmarks/patterns.py [CHECKPOINT …] [--images N] [--seeds N]

Maps of all heads on held-out demo scenes. Each seed is the whole procedure from the maps on:
another division of the images, another autoencoder, another choice of k, other starts. The bound
is on one seed's collection, training, projection (both) and grouping.
"""

import argparse
import os
import time
from collections.abc import Sequence

import numpy as np
import torch

import headscope as hs
from headscope.analysis.patterns.clustering import cluster
from headscope.analysis.patterns.maps import collect
from headscope.analysis.patterns.projection import project_pca, project_umap
from headscope.analysis.patterns.result import Patterns
from headscope.analysis.patterns.stability import agreement
from headscope.analysis.patterns.training import train
from headscope.models.demo.scenes import HELD_OUT, scene

BOUND = 180.0
"""Seconds that all stages may take on two cores."""


def measure(name: str, n_images: int, n_seeds: int) -> None:
    checkpoint = hs.load(name)
    pixels = np.stack([scene(seed).image for seed in HELD_OUT[:n_images]])
    crops = np.stack([checkpoint.crop(hs.read_image(image, name="scene")) for image in pixels])

    def of(indices: Sequence[int]) -> np.ndarray:
        return crops[list(indices)]

    seconds: dict[str, float] = {}

    def timed(stage: str, begun: float) -> None:
        seconds[stage] = time.perf_counter() - begun

    begun = time.perf_counter()
    maps = collect(checkpoint, of, [f"scene {seed}" for seed in HELD_OUT[:n_images]])
    timed("collection", begun)
    print(f"{name}: {len(maps):,} maps of {len(maps.heads)} heads on {n_images} scenes", flush=True)

    labels = []
    for seed in range(n_seeds):
        begun = time.perf_counter()
        network, training = train(maps, seed=seed)
        timed("training", begun)
        latents = network.latents(maps.values)
        begun = time.perf_counter()
        clustering = cluster(latents, seed=seed)
        timed("grouping", begun)
        labels.append(clustering.labels)
        print(
            f"  seed {seed}: {len(training.fitted_error)} epochs in {training.seconds:.0f} s, "
            f"stopped by {training.stopped_by}; held-out squared error "
            f"{training.held_out_error:.5f}, PCA {training.pca_error:.5f}, of a variance of "
            f"{training.variance:.5f}; k = {clustering.n}, silhouette {clustering.silhouette:.3f}",
            flush=True,
        )
        if seed:
            continue
        begun = time.perf_counter()
        projections = {"pca": project_pca(latents)}
        timed("PCA", begun)
        begun = time.perf_counter()
        projections["umap"] = project_umap(latents)
        timed("UMAP", begun)
        total = sum(seconds.values())
        stages = ", ".join(f"{stage} {each:.1f} s" for stage, each in seconds.items())
        print(f"  {stages}; in all {total:.0f} s of at most {BOUND:.0f} s", flush=True)
        for method, plane in projections.items():
            print(f"  {method}: trustworthiness {plane.trustworthiness:.3f}")
        curve = zip(clustering.choices, clustering.silhouettes, strict=True)
        print("  silhouette by k:", ", ".join(f"{k}: {value:.3f}" for k, value in curve))
        _tell(Patterns(maps, network, training, latents, clustering, projections))
    if n_seeds > 1:
        found = agreement(labels)[np.triu_indices(n_seeds, 1)]
        print(
            f"  adjusted Rand index over {n_seeds} seeds: mean {found.mean():.3f}, "
            f"least {found.min():.3f}, most {found.max():.3f}"
        )


def _tell(patterns: Patterns) -> None:
    for each in patterns.clusters:
        heads = ", ".join(f"{layer}.{head} {share:.0%}" for _, layer, head, share in each.heads[:8])
        print(f"  {each.name}: {each.share:.1%} of the maps; {heads}")
    stability = patterns.heads.stability
    print(
        f"  share of images in a head's main pattern: mean {stability.mean():.2f}, least "
        f"{stability.min():.2f}; the same in all images: {(stability == 1).sum()} heads"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=["demo/supervised"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    load = "/".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {load}", flush=True)
    for name in options.checkpoints:
        measure(name, options.images, options.seeds)


if __name__ == "__main__":
    main()
