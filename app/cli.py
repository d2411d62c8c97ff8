"""The command `headscope`: its arguments, and what becomes of errors."""

import argparse
import importlib.metadata
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..models.errors import HeadscopeError
from .demo_command import add_demo
from .explain_command import add_explain
from .models_command import add_models
from .patterns_command import add_patterns
from .report_command import add_report
from .supplement_command import add_supplement

DONE, WRONG, INTERRUPTED = 0, 2, 130
"""Exit status: done; wrong usage or input, one sentence on stderr; Ctrl-C."""

_MAIN = """\
examples:
  headscope                                      open the app on the demo checkpoints
  headscope analyze photos/ --model demo/supervised --out photos.zarr
  headscope app --study photos.zarr              look at what was computed
  headscope inspect vit_small_patch16_224        what can be read of a model

"headscope COMMAND --help" tells more. Exit status: 0 done, 2 wrong usage or input,
130 interrupted.
"""

_APP = """\
examples:
  headscope                                      the same as "headscope app"
  headscope app --study photos.zarr              begin with a computed study
  headscope app --study sample/supervised        begin with one that comes with headscope
  headscope app --port 8600 --no-browser         on a machine without a screen

Ctrl-C stops it. Nothing leaves the machine: the page is served to this computer
only, unless --host says otherwise.
"""

_ANALYZE = """\
examples:
  headscope analyze sample/astronaut sample/scene-8 --model demo/supervised --out samples.zarr
  headscope analyze cat.jpg dog.jpg --model vit_base_patch16_224 --out pets.zarr
  headscope analyze photos/ 'more/**/*.png' --model demo/supervised --out all.zarr
  headscope analyze photos/ --model finetuned.safetensors --arch vit_small_patch16_224 \\
      --target "tabby cat" --out cats.zarr

For each image every head is switched off in turn, and the study records what that changes,
where the head looks and how far. Ctrl-C leaves a study that opens; the same command goes on
from there. Files in folders that are no images are skipped and named at the end.

--ablations says what takes a head's place, such as zero,mean,keep; a part of the head is cut by
class-to-patch, any-to-register, "hops<=1" or "hops>3", and with :renormalised at the end of the
name the rest is scaled up. A wrong name gets the list of all.

--metrics takes names of importance, attention and hidden-state metrics, and of numbers of all
images together. Those that take long beside a forward pass are only measured when they are named;
"default" stands for all the others, as in --metrics default,effective_rank. A wrong name gets the
list of all.
"""

_INSPECT = """\
examples:
  headscope inspect demo/registers
  headscope inspect vit_base_patch14_dinov2 --no-pretrained
  headscope inspect --factory model.py:build --image-size 224

For every attention module: whether headscope can read it, and how far what it reads differs
from the model's own output (parity).
"""


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one sentence, as any other wrong input is."""

    def error(self, message: str) -> NoReturn:
        raise HeadscopeError(f'{message[0].upper()}{message[1:]}; see "{self.prog} --help".')


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as they are, and `hf-hub:` on one line."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    top_level = {"-h", "--help", "--version"}
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in top_level):
        arguments.insert(0, "app")
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except SystemExit as stop:  # argparse, after --help and --version
        return int(stop.code or DONE)
    except HeadscopeError as error:
        print(f"headscope: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt as stop:  # its text says what is kept
        print(f"headscope: stopped. {stop}".rstrip(), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="headscope",
        description="See what every attention head of a vision transformer does, "
        "and whether it matters.",
        epilog=_MAIN,
        formatter_class=_Help,
    )
    version = f"headscope {importlib.metadata.version('headscope')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_app(commands)
    _add_analyze(commands)
    add_explain(commands, _command, _add_model_options)
    add_patterns(commands, _command)
    add_report(commands, _command)
    add_supplement(commands, _command)
    _add_inspect(commands)
    add_models(commands, _command)
    add_demo(commands, _command)
    return parser


def _command(
    commands: "argparse._SubParsersAction[_Parser]", name: str, summary: str, examples: str
) -> _Parser:
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=_Help,
    )


def _add_app(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "app", "open the app in the browser (the default)", _APP)
    parser.add_argument(
        "--study",
        type=Path,
        action="append",
        default=[],
        dest="studies",
        metavar="X.zarr",
        help="begin with this study (sample/supervised comes with headscope); given again, "
        "further ones to go over to or compare with",
    )
    parser.add_argument(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="the function that made the study's checkpoint; it is run, so it must be trusted",
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help="default: 8501, or the next that is free"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 lets the whole network in (default: %(default)s)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open no browser"
    )

    def run(options: argparse.Namespace) -> None:
        from .serve import serve

        serve(
            studies=options.studies,
            factory=options.factory,
            host=options.host,
            port=options.port,
            browser=not options.no_browser,
        )

    parser.set_defaults(run=run)


def _add_analyze(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "analyze", "compute a study of images and save it", _ANALYZE)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="files, folders, globs, or samples such as sample/astronaut",
    )
    parser.add_argument("--model", metavar="M", help=_MODEL)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="X.zarr",
        help="folder to write the study to; an unfinished one is gone on with",
    )
    _add_model_options(parser)
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="label or index of the class whose probability is followed in every image "
        "(default: in each image the one that the model predicts)",
    )
    parser.add_argument(
        "--ablations",
        type=_names,
        metavar="A,…",
        help="what takes a head's place, one after the other (default: zero)",
    )
    parser.add_argument(
        "--metrics",
        type=_names,
        metavar="M,…",
        help="what is measured (default: all that fits the model and does not take long; "
        "`default,effective_rank` adds one that does)",
    )
    parser.add_argument(
        "--no-importance",
        action="store_true",
        help="only where heads look, which takes a small part of the time",
    )
    parser.add_argument(
        "--labels",
        metavar="folders|FILE.csv",
        help="what is in the images, for accuracy: the folders' names, or a table image,label",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="D", help="cpu, cuda, cuda:1 … (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="images computed at once; fewer need less memory (default: by the model's size)",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="P",
        help="bfloat16 computes what an ablation changes in half precision: faster for large "
        "models, where the CPU or GPU has it (default: %(default)s)",
    )
    parser.add_argument(
        "--memory", metavar="4GB", help="what the process is to stay below (default: no bound)"
    )
    parser.add_argument(
        "--until",
        type=_top,
        metavar="top10",
        help="stop when the ten most important heads are known at 95 %%, by the Jensen-Shannon "
        "divergence or by --metrics ONE; --out is then a .json with every head's interval",
    )

    def run(options: argparse.Namespace) -> None:
        from .commands import analyze

        analyze(options)

    parser.set_defaults(run=run)


def _add_inspect(commands: "argparse._SubParsersAction[_Parser]") -> None:
    parser = _command(commands, "inspect", "tell what can be read of a model", _INSPECT)
    parser.add_argument("model", nargs="?", metavar="M", help=_MODEL)
    _add_model_options(parser)

    def run(options: argparse.Namespace) -> None:
        from .commands import inspect

        inspect(options)

    parser.set_defaults(run=run)


_MODEL = (
    "checkpoint: demo/supervised, any timm name, hf-hub:OWNER/NAME, or a .safetensors or .pth file"
)


_FACTORY = (
    "instead of a checkpoint's name: a function of your own that takes nothing and returns a "
    "torch.nn.Module or headscope.wrap(…), as package.module:function or file.py:function. "
    "It runs that code: name none that you do not trust"
)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--factory", metavar="MODULE:FUNCTION", help=_FACTORY)
    parser.add_argument(
        "--arch", metavar="A", help="timm architecture of a weights file that names none"
    )
    parser.add_argument(
        "--no-pretrained", action="store_true", help="random weights; downloads nothing"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random weights (default: %(default)s)"
    )
    parser.add_argument(
        "--in-chans",
        type=_positive,
        metavar="N",
        help="channels of the input, if not the architecture's own",
    )
    parser.add_argument(
        "--image-size",
        type=_size,
        metavar="N|HxW",
        help="input height and width in px, if not the checkpoint's own",
    )


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: give 224, or 224x320 (height first)"
        )
    return _positive(parts[0]), _positive(parts[-1])


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name: give some such as a,b")
    return names


def _top(text: str) -> int:
    if not text.startswith("top"):
        raise argparse.ArgumentTypeError(f"{text!r} is no goal: give top10, say")
    return _positive(text.removeprefix("top"))


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)
