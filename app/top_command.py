"""What `headscope analyze --until top10` does."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    from ..analysis.importance.race import Race
    from ..analysis.importance.top import TopHeads
    from ..models.checkpoint import Checkpoint


def check_result_path(out: Path) -> None:
    """Raise a HeadscopeError unless a result can be written to `out`."""
    if out.suffix != ".json":
        raise HeadscopeError(
            f"--until stops before all images are seen, which makes no study; name a .json for "
            f"--out, not {out}."
        )
    if out.exists():
        raise HeadscopeError(f"{out} exists already; choose another place or delete it first.")
    try:
        out.touch(exist_ok=False)
        out.unlink()
    except OSError as error:
        raise HeadscopeError(f"Cannot write to {out} ({error.strerror}).") from error


def find_top(
    options: argparse.Namespace,
    checkpoint: "Checkpoint",
    images: Sequence[Any],
    on_unreadable: Callable[[Any, HeadscopeError], None],
) -> None:
    """Find the most important heads, print and save them."""
    from ..analysis.importance.top import AT_ONCE, find_top_heads

    for name, given in (
        ("--labels", options.labels),
        ("--no-importance", options.no_importance),
        ("--memory", options.memory),
    ):
        if given:
            raise HeadscopeError(f"{name} is for studies; leave it out with --until.")

    if options.metrics is not None and len(options.metrics) != 1:
        raise HeadscopeError("--until ranks by one metric; give --metrics one name.")
    modes = options.ablations or ["zero"]
    if len(modes) != 1:
        raise HeadscopeError("--until ranks by one ablation; give --ablations one name.")
    with Bar(total=len(images), unit="images") as bar:

        def progress(race: "Race", words: str) -> None:
            bar.show(race.n_images, words)

        found = find_top_heads(
            checkpoint,
            images,
            options.until,
            metric=None if options.metrics is None else options.metrics[0],
            mode=modes[0],
            target=options.target,
            seed=options.seed,
            batch_size=options.batch_size or AT_ONCE,
            progress=progress,
            on_unreadable=on_unreadable,
        )
    options.out.write_text(json.dumps(_result(checkpoint, found), indent=1), encoding="utf-8")
    print(_table(found))
    print(f"\nSaved as {options.out}.")


def _table(found: "TopHeads") -> str:
    result, bounds = found.result, found.bounds
    share = result.n_images / result.n_images_in_all
    lines = [
        f"The {len(result.top)} most important heads, by {found.metric.long_name} "
        f"({found.metric.units}), {found.mode} ablation:",
        f"known at {bounds.confidence:.0%} after {result.n_images} of {result.n_images_in_all} "
        f"images ({share:.0%}) and {result.share_of_ablations:.0%} of the ablations",
        "",
        "layer  head      mean  interval, for all heads together",
    ]
    lines += [
        f"{layer:>5}  {head:>4}  {bounds.mean[layer, head]:>8.4f}  "
        f"{bounds.low[layer, head]:.4f} to {bounds.high[layer, head]:.4f}"
        for layer, head in result.top
    ]
    return "\n".join(lines)


def _result(checkpoint: "Checkpoint", found: "TopHeads") -> dict[str, Any]:
    result, bounds = found.result, found.bounds
    numbers = {
        name: np.where(np.isfinite(values), values, np.nan)
        for name, values in (("mean", bounds.mean), ("low", bounds.low), ("high", bounds.high))
    }
    return {
        "model": checkpoint.name,
        "model_digest": checkpoint.digest,
        "metric": found.metric.name,
        "units": found.metric.units,
        "ablation": found.mode,
        "confidence": bounds.confidence,
        "n_images": result.n_images,
        "n_images_in_all": result.n_images_in_all,
        "share_of_ablations": result.share_of_ablations,
        "decided": result.decided,
        "top": result.top,
        "heads": [
            {
                "layer": layer,
                "head": head,
                "n_images": int(bounds.n_images[layer, head]),
                **{
                    name: None if np.isnan(values[layer, head]) else float(values[layer, head])
                    for name, values in numbers.items()
                },
            }
            for layer, n_heads in enumerate(checkpoint.n_heads)
            for head in range(n_heads)
        ],
    }
