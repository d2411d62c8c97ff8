"""What `headscope analyze`, `inspect` and `demo train` do."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..models.errors import HeadscopeError
from ..models.images import find_images
from ..models.samples import SAMPLE, sample_image
from .progress import Bar
from .top_command import check_result_path, find_top

if TYPE_CHECKING:
    from ..analysis.analyze import Progress
    from ..analysis.study import Study
    from ..models.checkpoint import Checkpoint
    from ..models.demo.train import Progress as TrainingProgress

TOP = 10
"""Heads in the table that closes an analysis."""


def analyze(options: argparse.Namespace) -> None:
    """Compute and save a study, and print its most important heads.

    A KeyboardInterrupt says what is kept; so does that of `train_demo`.
    """
    samples = [name for name in options.images if name.startswith(SAMPLE)]
    files = [pattern for pattern in options.images if not pattern.startswith(SAMPLE)]
    images = [*map(sample_image, samples), *find_images(files)]
    if options.until is None:
        _check_writable(options.out)
    else:
        check_result_path(options.out)
    checkpoint = _load(options)
    skipped: list[HeadscopeError] = []

    named = {Path(pattern) for pattern in files}

    def skip(image: object, error: HeadscopeError) -> None:
        if image in named:  # it was asked for
            raise error
        skipped.append(error)

    if options.until is not None:
        find_top(options, checkpoint, images, skip)
        for error in skipped:
            print(f"headscope: skipped: {error}", file=sys.stderr)
        return

    from ..analysis.analyze import ABLATIONS
    from ..analysis.analyze import analyze as compute
    from ..analysis.importance.budget import parse_bytes

    memory = None if options.memory is None else parse_bytes(options.memory)

    with Bar(total=len(images), unit="images") as bar, _asked_to_stop() as asked:

        def progress(state: "Progress") -> None:
            bar.show(state.done, state.text)
            if asked():
                raise KeyboardInterrupt

        try:
            study = compute(
                checkpoint,
                images,
                target=options.target,
                ablations=options.ablations or ABLATIONS,
                metrics=options.metrics,
                importance=not options.no_importance,
                labels=options.labels,
                progress=progress,
                out=options.out,
                seed=options.seed,
                batch_size=options.batch_size,
                memory=memory,
                on_unreadable=skip,
            )
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(_what_is_kept(options.out)) from stop
    for error in skipped:
        print(f"headscope: skipped: {error}", file=sys.stderr)
    print(_most_important(study))
    print(f"\nSaved as {options.out}. To look at it:\n  headscope app --study {options.out}")


def inspect(options: argparse.Namespace) -> None:
    """Print what a checkpoint expects and what of it can be read."""
    checkpoint = _load(options)
    layout = checkpoint.layout
    prefix = [f"{layout.kinds.count(k)} {k}" for k in layout.present_kinds if k != "patch"]
    (rows, columns), (height, width) = layout.grid, layout.patch_px
    patches = f"{layout.n_patches} patches ({rows}×{columns} of {height:g}×{width:g} px)"
    classes = (
        f"{len(checkpoint.labels)}, such as {checkpoint.labels[0]!r}"
        if (checkpoint.has_classes)
        else "none: it computes features"
    )
    print(f"{checkpoint.name} ({checkpoint.architecture})")
    print(f"  input    {checkpoint.preprocessing.describe()}")
    print(f"  tokens   {' + '.join([*prefix, patches])}")
    print(f"  classes  {classes}")
    print(f"  weights  SHA-256 {checkpoint.digest}")
    print()
    print(checkpoint.report)


def train_demo(names: Sequence[str], *, out: Path, resume: bool, snapshots: int = 0) -> None:
    """Train demo checkpoints; those that are there already are left alone when resuming."""
    from ..models.demo.recipes import RECIPES
    from ..models.demo.train import NAMES, check_snapshots, snapshot_paths, train

    wanted = [name.removeprefix("demo/") for name in names] or list(NAMES)
    for name in wanted:
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise HeadscopeError(f"There is no demo checkpoint {name!r}; there are: {known}.")
    for name in wanted:
        weights = out / f"{name}.safetensors"
        if resume and weights.exists():
            steps = RECIPES[name].steps
            check_snapshots(snapshot_paths(name, out, steps, snapshots), steps)
            print(f"{weights} is there already; --no-resume trains it again.")
            continue
        with Bar(total=1) as bar:

            def progress(state: "TrainingProgress", bar: Bar = bar) -> None:
                bar.show(state.step / state.steps, str(state))

            try:
                trained = train(
                    name, out=out, resume=resume, progress=progress, snapshots=snapshots
                )
            except KeyboardInterrupt as stop:
                kept = f"The same command goes on with {name} from its last saved step."
                raise KeyboardInterrupt(kept) from stop
        print(f"{trained} is done.")


def _load(options: argparse.Namespace) -> "Checkpoint":
    if (options.model is None) == (options.factory is None):
        both = "both are given" if options.model else "neither is given"
        raise HeadscopeError(
            f"Give either the name of a checkpoint or --factory MODULE:FUNCTION; {both}."
        )
    if options.factory is not None:
        return _from_factory(options)
    from ..models.loading import load

    return load(
        options.model,
        arch=options.arch,
        pretrained=not options.no_pretrained,
        seed=options.seed,
        image_size=options.image_size,
        in_chans=options.in_chans,
        device=getattr(options, "device", "cpu"),
        precision=getattr(options, "precision", "float32"),
    )


def _from_factory(options: argparse.Namespace) -> "Checkpoint":
    for name, given in (
        ("--arch", options.arch),
        ("--no-pretrained", options.no_pretrained),
        ("--in-chans", options.in_chans),
    ):
        if given:
            raise HeadscopeError(
                f"{name} is for checkpoints by name; {options.factory} has its own."
            )
    from ..models.factory import from_factory

    return from_factory(
        options.factory,
        image_size=options.image_size,
        seed=options.seed,
        device=getattr(options, "device", "cpu"),
        precision=getattr(options, "precision", None),
    )


def _check_writable(out: Path) -> None:
    """Raise a HeadscopeError if no study can be written to `out`, before hours go into one."""
    from ..analysis.study import open_study

    if out.exists():
        try:
            open_study(out)
        except HeadscopeError as error:
            raise HeadscopeError(
                f"{out} is there already and is no study to go on with; give another --out. {error}"
            ) from error
    folder = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise HeadscopeError(
            f"Cannot write to {folder} ({error.strerror}): give another --out."
        ) from error


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first only asks, so that no write is cut in half."""
    asked = False

    def on_interrupt(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # A signal may come while stderr is being written to, which print cannot stand.
        os.write(2, b"\nheadscope: stopping; Ctrl-C again stops at once\n")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _what_is_kept(out: Path) -> str:
    from ..analysis.study import open_study

    if not out.exists():
        return "Nothing was computed yet."
    try:
        study = open_study(out)
    except HeadscopeError as error:  # the second Ctrl-C came before the study was laid out
        return f"Delete {out} before the next run. {error}"
    return (
        f"{study.n_done} of {study.n_images} images are in {out}, which opens as it is; "
        "the same command goes on from there."
    )


def _most_important(study: "Study") -> str:
    """A table of the heads whose ablation changes most, and how far each looks."""
    data = study.data.isel(image=np.flatnonzero(study.data["done"].values))
    names = [str(v.name) for v in study.head_metrics() if "ablation" in v.coords]
    if not names:
        return f"Attention of {study.n_done} images was measured, importance was left out."
    score = data["probability_drop" if "probability_drop" in names else names[0]].isel(ablation=0)
    from ..models.ablations import ablation

    converse = ablation(str(score["ablation"].item())).converse
    n_images = data.sizes["image"]
    mean = score.mean("image").values
    error = score.std("image", ddof=1).values / np.sqrt(n_images) if n_images > 1 else None
    distance = data["distance"].mean("image").values if "distance" in data else None
    order = [
        divmod(int(i), mean.shape[1])
        for i in np.argsort(mean if converse else -mean, axis=None)
        if np.isfinite(mean.flat[i])
    ]
    name = score.attrs["long_name"]
    name = name[0].lower() + name[1:]
    if study.settings["ablations"] != ["zero"]:
        name += f" ({score['ablation'].item()} ablation)"
    header = f"{name} ({score.attrs['units']})"
    images = f"mean over {n_images} images ± its standard error" if n_images > 1 else "one image"
    lines = [
        f"The {min(TOP, len(order))} most important of {len(order)} heads, by {name}",
        f"({images}):",
        "",
        f"layer  head  {header}" + ("  mean distance (px)" if distance is not None else ""),
    ]
    for layer, head in order[:TOP]:
        spread = "" if error is None else f" ± {error[layer, head]:.4f}"
        value = f"{mean[layer, head]:.4f}{spread}"
        line = f"{layer:>5}  {head:>4}  {value:>{len(header)}}"
        if distance is not None:
            line += f"  {distance[layer, head]:>18.1f}"
        lines.append(line)
    return "\n".join(lines)
