"""`headscope explain`: maps over images for one decision, as files."""

import argparse
import base64
import csv
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    from ..analysis.explain import Explanation
    from ..models.checkpoint import Checkpoint
    from ..models.images import Photograph

SCORES = "scores.csv"

_EXPLAIN = """\
examples:
  headscope explain sample/scene-8 --model demo/supervised --method grad-cam --out maps
  headscope explain photos/ --model vit_base_patch16_224 --method all --target "tabby" --out maps
  headscope explain cat.jpg --model demo/supervised --method relevance \\
      --against runner-up --out maps

Each method's maps go to FOLDER/METHOD.npz as they are, unscaled: values (image, row, column),
names, score, residual (of methods whose parts sum to the whole), cell_px and what was explained.
FOLDER/METHOD/ has a picture of each, in colour over the image, scaled to its own largest value.
FOLDER/scores.csv has a line for each image and method. "all" are the methods that fit the model
and take no hundreds of passes; those are named one by one.
"""


def add_explain(
    commands: Any,
    command: Callable[..., argparse.ArgumentParser],
    add_model_options: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command to a parser."""
    parser = command(commands, "explain", "explain a decision by maps over the image", _EXPLAIN)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="files, folders, globs, or samples such as sample/astronaut",
    )
    parser.add_argument("--model", metavar="M", help="checkpoint: demo/supervised, a timm name, …")
    parser.add_argument(
        "--method",
        required=True,
        metavar="A,…",
        help="names such as grad-cam,relevance; or all. A wrong name gets the list",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FOLDER", help="a new or empty folder"
    )
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="label or index of the class to explain (default: each image's prediction)",
    )
    parser.add_argument(
        "--against",
        metavar="CLASS",
        help="a class to tell the target from; runner-up: the next likely of each image",
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="images computed at once"
    )
    parser.add_argument(
        "--device", default="cpu", metavar="D", help="cpu, cuda, cuda:1 … (default: %(default)s)"
    )
    add_model_options(parser)

    def run(options: argparse.Namespace) -> None:
        explain_images(options)

    parser.set_defaults(run=run)


def explain_images(options: argparse.Namespace) -> None:
    """Compute and save the maps, and tell where they are."""
    from .commands import _load

    _check_folder(options.out)
    if options.batch_size < 1:
        raise HeadscopeError(f"--batch-size {options.batch_size} computes nothing; give 1 or more.")
    photographs = _read(options.images)
    checkpoint = _load(options)
    methods = _methods(checkpoint, options.method)
    crops = np.stack([checkpoint.crop(photograph) for photograph in photographs])
    batch = checkpoint.prepare(crops)
    names = [photograph.name for photograph in photographs]
    from ..analysis.explain import explain

    written: list[str] = []
    rows: list[dict[str, Any]] = []
    try:
        with Bar(total=len(methods)) as bar:
            for index, method in enumerate(methods):

                def progress(share: float, index: int = index, method: str = method) -> None:
                    bar.show(index + share, method)

                found = explain(
                    checkpoint,
                    batch,
                    method,
                    target=options.target,
                    against=options.against,
                    batch_size=options.batch_size,
                    seed=options.seed,
                    progress=progress,
                )
                _save(options.out / f"{method}.npz", found, checkpoint, names)
                _draw(options.out / method, found, crops, names)
                rows += _rows(found, checkpoint, names)
                written.append(method)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_kept(options.out, written)) from stop
    finally:
        _write_rows(options.out / SCORES, rows)
    print(_table(rows))
    print(
        f"\nSaved in {options.out}: {', '.join(f'{name}.npz' for name in written)}, {SCORES}, "
        "and a folder of pictures for each method."
    )


def _read(patterns: Sequence[str]) -> "list[Photograph]":
    """Those of folders and globs that are no images are skipped, and told."""
    from ..models.images import find_images, read_image
    from ..models.samples import SAMPLE, sample_image

    photographs = [sample_image(name) for name in patterns if name.startswith(SAMPLE)]
    files = [pattern for pattern in patterns if not pattern.startswith(SAMPLE)]
    named = {Path(pattern) for pattern in files}
    for path in find_images(files):
        try:
            photographs.append(read_image(path))
        except HeadscopeError as error:
            if path in named:  # it was asked for
                raise
            print(f"headscope: skipped: {error}", file=sys.stderr)
    if not photographs:
        raise HeadscopeError("None of the files is an image that can be read.")
    return photographs


def _methods(checkpoint: "Checkpoint", given: str) -> list[str]:
    from ..analysis.explain import explanations, method_of

    if given != "all":
        names = list(dict.fromkeys(name.strip() for name in given.split(",")))
        for name in names:
            method_of(name)
        return names
    chosen = []
    for name, method in explanations().items():
        if why := method.why_not(checkpoint):
            print(f"headscope: left out: {name}: {why}", file=sys.stderr)
        elif method.slow:
            print(f"headscope: left out: {name}: it is slow; name it to have it", file=sys.stderr)
        else:
            chosen.append(name)
    if not chosen:
        raise HeadscopeError(f"No method fits {checkpoint.name}.")
    return chosen


def _save(path: Path, found: "Explanation", checkpoint: "Checkpoint", names: list[str]) -> None:
    arrays: dict[str, Any] = {
        "values": found.values,
        "names": np.array(names),
        "score": found.score,
        "cell_px": np.array(found.cell_px),
        "method": np.array(found.method.name),
        "target": np.array(found.target),
        "where": np.array(found.where),
        "notes": np.array(found.notes, dtype=str),
        "model": np.array(checkpoint.name),
        "model_digest": np.array(checkpoint.digest),
        "residual": found.residual,
        "classes": found.classes,
        "heads": found.heads,
    }
    np.savez_compressed(path, **{name: of for name, of in arrays.items() if of is not None})


def _draw(folder: Path, found: "Explanation", crops: np.ndarray, names: list[str]) -> None:
    """One picture for each image, by its number, as names may come twice."""
    from .figures.explanation import overlay

    folder.mkdir()
    for index, (pixels, values, name) in enumerate(zip(crops, found.values, names, strict=True)):
        drawn = overlay(pixels, values, signed=found.method.signed)
        stem = re.sub(r"[^\w.-]+", "-", Path(name).stem)
        path = folder / f"{index + 1:03d}-{stem}.png"
        path.write_bytes(base64.b64decode(drawn.source.partition(",")[2]))


def _rows(found: "Explanation", checkpoint: "Checkpoint", names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "image": name,
            "method": found.method.name,
            "target": found.target,
            "class": (
                "" if found.classes is None else checkpoint.labels[int(found.classes[index])]
            ),
            "score": float(found.score[index]),
            "residual": "" if found.residual is None else float(found.residual[index]),
        }
        for index, name in enumerate(names)
    ]


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _table(rows: list[dict[str, Any]]) -> str:
    """What was explained of each image."""
    seen = {row["image"]: row for row in rows}
    width = max(len(name) for name in ("image", *seen))
    lines = [f"{rows[0]['target'][:1].upper()}{rows[0]['target'][1:]}:", ""]
    lines += [f"{'image':<{width}}     score  class"]
    lines += [
        f"{name:<{width}}  {row['score']:>8.3f}  {row['class']}" for name, row in seen.items()
    ]
    return "\n".join(line.rstrip() for line in lines)


def _kept(out: Path, written: list[str]) -> str:
    if not written:
        return "Nothing was saved yet."
    return f"In {out} are the maps of {', '.join(written)}."


def _check_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HeadscopeError(
            f"{out} is there already and not an empty folder; choose another place or empty it."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadscopeError(f"Cannot write to {out} ({error.strerror}).") from error
