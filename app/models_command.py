"""`headscope models`: what can be read of every kind of model, found out by a run."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .progress import Bar

if TYPE_CHECKING:
    from ..models.survey import Entry

_MODELS = """\
examples:
  headscope models                               takes a few minutes
  headscope models --module swin_transformer pvt_v2
  headscope models --markdown > models.md

For each of timm's modules that has attention, its smallest model is built with random weights
and read; nothing is downloaded. What the largest of a module has may differ from its smallest.
"""


def add_models(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to a parser."""
    parser = command(commands, "models", "list which kinds of models can be read", _MODELS)
    parser.add_argument(
        "--module",
        nargs="+",
        default=[],
        metavar="NAME",
        help="timm's modules to read, such as swin_transformer (default: all)",
    )
    parser.add_argument("--all", action="store_true", help="name modules without any attention too")
    parser.add_argument("--verbose", action="store_true", help="tell the time that each takes")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one list for machines")
    form.add_argument("--markdown", action="store_true", help="a table for a README")

    def run(options: argparse.Namespace) -> None:
        list_models(options)

    parser.set_defaults(run=run)


def list_models(options: argparse.Namespace) -> None:
    """Read the models and print the table."""
    from ..models.survey import NONE, survey

    entries: list[Entry] = []
    with Bar(total=1) as bar:

        def on_module(name: str, index: int, total: int) -> None:
            bar.show(index / total, name)

        for entry in survey(options.module, on_module=on_module):
            if options.verbose:
                print(f"{entry.module}: {entry.seconds:.1f} s", file=sys.stderr)
            if options.all or options.module or entry.status != NONE:
                entries.append(entry)
    if options.json:
        print(json.dumps([entry.row for entry in entries], indent=1))
    elif options.markdown:
        print(markdown(entries))
    else:
        print(table(entries))


HEADER = ("timm module", "model read", "attention", "grids", "prefix tokens", "layers", "status")


def markdown(entries: Sequence["Entry"]) -> str:
    """A table for a README."""
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    return "\n".join([*lines, *(_line(cells(entry)) for entry in entries)])


def table(entries: Sequence["Entry"]) -> str:
    """A table for a terminal, and a sentence of how many."""
    rows = [HEADER, *(cells(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    counts = {entry.status: 0 for entry in entries}
    for entry in entries:
        counts[entry.status] += 1
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return "\n".join([*lines, f"{len(entries)} modules: {told}."])


def cells(entry: "Entry") -> tuple[str, ...]:
    """The row of one module."""
    from ..models.survey import PARTLY, READ

    attention = ", ".join(entry.attention)
    grids = ", ".join(f"{rows}×{columns}" for rows, columns in entry.grids)
    kinds = dict.fromkeys(entry.prefix)
    prefix = ", ".join(
        kind if entry.prefix.count(kind) == 1 else f"{entry.prefix.count(kind)} {kind}"
        for kind in kinds
    )
    n_layers = entry.n_read + sum(entry.refused.values())
    layers = f"{entry.n_read} of {n_layers}" if entry.model and n_layers else ""
    status = entry.status
    if status != READ and entry.refused:
        whys = [_kind(reason) for reason in entry.refused]
        status += f" ({'without ' if status == PARTLY else ''}{', '.join(dict.fromkeys(whys))})"
    return entry.module, entry.model, attention, grids, prefix, layers, status


def _kind(reason: str) -> str:
    """A reason's first words, which name what was met."""
    return reason.partition(":")[0].partition(";")[0].rstrip(".")


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
