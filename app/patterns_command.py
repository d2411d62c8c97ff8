"""What `headscope patterns` does: its arguments, the work, the table."""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    from ..analysis.patterns import Patterns

_EXAMPLES = """\
examples:
  headscope patterns photos.zarr
  headscope patterns photos.zarr --clusters 8 --seed 3
  headscope patterns photos.zarr --method hdbscan --stability

Reads the maps of all heads for the images of a study, learns what they look like, groups and
names them, and keeps that inside the study, in the place of patterns that it has. Ctrl-C leaves
the study as it was.
"""


def add_patterns(
    commands: Any, command: Callable[[Any, str, str, str], argparse.ArgumentParser]
) -> None:
    """Add the command to the parser."""
    summary = "learn and name the patterns of a study's heads"
    parser = command(commands, "patterns", summary, _EXAMPLES)
    parser.add_argument("study", type=Path, metavar="STUDY.zarr", help="made by headscope analyze")
    parser.add_argument(
        "--clusters",
        type=_clusters,
        metavar="K|auto",
        help="number of groups for k-means (default: auto, by the silhouette)",
    )
    parser.add_argument(
        "--method",
        choices=("kmeans", "hdbscan"),
        default="kmeans",
        help="hdbscan finds the number itself, and leaves maps out (default: %(default)s)",
    )
    parser.add_argument(
        "--form",
        choices=("offset", "raw"),
        default="offset",
        help="of the maps: by relative offset, or region to region (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of all that is drawn (default: 0)"
    )
    parser.add_argument(
        "--no-umap", action="store_true", help="the plane of principal components only: quicker"
    )
    parser.add_argument(
        "--stability",
        action="store_true",
        help="do it all again with five seeds, and tell how far they agree: five times as long",
    )
    parser.add_argument(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="the function that made the study's checkpoint; it is run, so it must be trusted",
    )
    parser.set_defaults(run=learn)


def learn(options: argparse.Namespace) -> None:
    """Learn, save and print the patterns of a study."""
    from dataclasses import replace

    from ..analysis.patterns import fit_patterns, measure_stability
    from ..analysis.study import open_study

    if options.method == "hdbscan" and options.clusters is not None:
        raise HeadscopeError("hdbscan finds the number of clusters itself; leave --clusters out.")
    study = open_study(options.study)
    checkpoint = None
    if options.factory is not None:
        from ..models.factory import from_factory

        checkpoint = from_factory(options.factory)
    with Bar(total=1) as bar:

        def progress(what: str, share: float) -> None:
            bar.show(share, what)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the table says it
            patterns = fit_patterns(
                study,
                checkpoint=checkpoint,
                form=options.form,
                clusters=options.clusters,
                method=options.method,
                umap=not options.no_umap,
                seed=options.seed,
                progress=progress,
            )
        if options.stability:
            measured = measure_stability(
                patterns.maps, method=options.method, clusters=options.clusters, progress=progress
            )
            patterns = replace(patterns, stability=measured)
    patterns.save(study)
    print(_table(patterns))
    print(f"\nSaved in {options.study}.")


def _table(patterns: "Patterns") -> str:
    training, clustering = patterns.training, patterns.clustering
    n_images = len(set(patterns.maps.pictures.tolist()))
    chosen = ", chosen by the silhouette" if len(clustering.choices) else ""
    lines = [
        f"{clustering.n} patterns of {len(patterns.maps.heads)} heads on {n_images} images"
        f"{chosen} ({clustering.silhouette:.2f})",
        f"{training.n_latent} numbers a map keep {training.explained:.0%} of the variance of "
        f"images not seen (PCA: {training.explained_by_pca:.0%})",
    ]
    if training.caution:
        lines.append(training.caution)
    left_out = float((clustering.labels < 0).mean())
    if left_out:
        lines.append(f"{left_out:.0%} of the maps are in no group")
    if patterns.stability is not None:
        stability = patterns.stability
        lines.append(
            f"agreement over {len(stability.seeds)} seeds (adjusted Rand index): "
            f"{stability.mean:.2f}, at least {stability.least:.2f}"
        )
    lines += ["", f"{'pattern':<20}  share  heads that have it most"]
    for cluster in patterns.clusters:
        heads = ", ".join(
            f"{layer}.{head} ({share:.0%})" for _, layer, head, share in cluster.heads[:4]
        )
        lines.append(f"{cluster.name:<20}  {cluster.share:>5.0%}  {heads}")
    return "\n".join(lines)


def _clusters(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 1):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of clusters: give 2 or more, or auto"
        )
    return int(text)


def _seed(text: str) -> int:
    # scikit-learn takes 32 bits.
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a number from 0 to 2³² − 1")
    return int(text)
