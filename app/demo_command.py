"""`headscope demo`: makes again what comes with headscope."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .demo_studies import add_studies

_TRAIN = """\
examples:
  headscope demo train                           all of them
  headscope demo train supervised --out my-demo
  headscope demo train supervised --out my-demo --snapshots 6

Each takes up to an hour on two cores. Ctrl-C keeps what is done; the same command goes on
from there, and with as many threads ends in the same weights.
"""


def add_demo(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `demo train` and `demo studies` to the parser."""
    parser = commands.add_parser("demo", help="make the demo checkpoints and sample studies again")
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train = command(actions, "train", "train the demo checkpoints", _TRAIN)
    train.add_argument("names", nargs="*", metavar="NAME", help="such as supervised (default: all)")
    train.add_argument(
        "--out",
        type=Path,
        default=Path("headscope-demo"),
        metavar="FOLDER",
        help="where weights and model cards go (default: %(default)s)",
    )
    train.add_argument(
        "--no-resume", action="store_true", help="begin anew, also where weights are there already"
    )
    train.add_argument(
        "--snapshots",
        type=int,
        default=0,
        metavar="N",
        help="keep weights at N steps, each twice the one before, to compare them as a series",
    )

    def run(options: argparse.Namespace) -> None:
        from .commands import train_demo

        train_demo(
            options.names,
            out=options.out,
            resume=not options.no_resume,
            snapshots=options.snapshots,
        )

    train.set_defaults(run=run)
    add_studies(actions, command)
