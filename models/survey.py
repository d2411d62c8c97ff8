"""What can be read of every kind of model that timm has, found out by reading one of each."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from .errors import MISFIT, HeadscopeError, first_line
from .loading import load
from .report import CaptureReport, NothingReadError
from .runs import attention_modules

MOST_PARAMETERS = 250_000_000
"""Of a model that is built: 1 GB in float32."""
LARGE_PX, SMALLER_PX = 512, (448, 256, 224)
"""Models for larger inputs are read at the first of these sizes that they take."""

READ, PARTLY, REFUSED, NONE, SKIPPED = "read", "partly read", "refused", "no attention", "skipped"


@dataclass(frozen=True)
class Entry:
    """What was found of one of timm's modules."""

    module: str
    """timm's file, such as `"swin_transformer"`."""
    model: str = ""
    """Its smallest model, which was read with random weights."""
    n_parameters: int = 0
    size: tuple[int, int] = (0, 0)
    """Height and width of the input, in pixels."""
    status: str = SKIPPED
    n_read: int = 0
    attention: dict[str, int] = field(default_factory=dict)
    """Number of layers that were read, by who attends to whom."""
    grids: tuple[tuple[int, int], ...] = ()
    """Of the queries, in the order in which they come."""
    prefix: tuple[str, ...] = ()
    """Kinds of tokens that are no patches."""
    refused: dict[str, int] = field(default_factory=dict)
    """Number of attention modules that were refused, by the reason."""
    seconds: float = 0.0

    @property
    def row(self) -> dict[str, Any]:
        return asdict(self)


def survey(
    modules: Sequence[str] = (), *, on_module: Callable[[str, int, int], None] | None = None
) -> Iterator[Entry]:
    """Read the smallest model of each of timm's modules, with random weights.

    Args:
        modules: which; without any, all.
        on_module: is told the next module, its number and how many there are.

    Raises:
        HeadscopeError: timm has no such module.
    """
    known = sorted(timm.list_modules())
    wrong = [name for name in modules if name not in known]
    if wrong:
        raise HeadscopeError(
            f"timm has no module {wrong[0]!r}; some of its {len(known)} are: "
            f"{', '.join(known[:: len(known) // 6])}."
        )
    wanted = list(modules) or known
    for index, module in enumerate(wanted):
        if on_module is not None:
            on_module(module, index, len(wanted))
        begun = time.perf_counter()
        entry = _read(module)
        gc.collect()
        yield Entry(**{**vars(entry), "seconds": time.perf_counter() - begun})


def smallest_model(module: str) -> tuple[str, int]:
    """The model of a timm module that has fewest parameters, and how many.

    Models with attention, by the names of their parts, come before those without (MetaFormer's
    pooling); timm's models for its own tests are left out. `("", 0)`: none can be built.
    """
    names = timm.list_models(module=module)
    smallest: dict[bool, tuple[int, str]] = {}
    for name in [name for name in names if not name.startswith("test_")] or names:
        limit = smallest[True][0] if True in smallest else 0
        try:
            with torch.device("meta"), _at_most(limit):
                model = timm.create_model(name)
        except (_TooLargeError, OSError, NotImplementedError, *MISFIT):
            continue
        count = sum(parameter.numel() for parameter in model.parameters())
        attends = bool(attention_modules(model))
        smallest[attends] = min(smallest.get(attends, (count, name)), (count, name))
    count, name = smallest.get(True) or smallest.get(False) or (0, "")
    return name, count


class _TooLargeError(Exception):
    """A model that is being built has more parameters than one that is known."""


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    """Give up building a model as soon as it is too large; 0: never."""
    count = 0

    def add(_module: nn.Module, _name: str, parameter: Any) -> None:
        nonlocal count
        count += 0 if parameter is None else parameter.numel()
        # Some parameters are made anew or shared: twice as many are surely more.
        if limit and count > 2 * limit:
            raise _TooLargeError

    handle = register_module_parameter_registration_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _read(module: str) -> Entry:
    name, n_parameters = smallest_model(module)
    if not name:
        return Entry(module, refused={"it has no model that can be built": 1})
    known = {"module": module, "model": name, "n_parameters": n_parameters}
    if n_parameters > MOST_PARAMETERS:
        return Entry(**known, refused={f"its smallest model is larger than {MOST_PARAMETERS:,}": 1})
    refusal = ""
    for size in _sizes(name):
        try:
            checkpoint = load(name, pretrained=False, image_size=size)
        except NothingReadError as nothing:
            status = REFUSED if nothing.report.readings else NONE
            return Entry(**known, size=nothing.size, status=status, **_found(nothing.report))
        except HeadscopeError as error:
            refusal = first_line(error)
        except MISFIT as error:  # a bug of ours: one model's is not that of all
            refusal = f"{type(error).__name__}: {first_line(error)}"
        else:
            found = _found(checkpoint.report)
            status = PARTLY if found["refused"] else READ
            return Entry(**known, size=checkpoint.preprocessing.size, status=status, **found)
    return Entry(**known, status=REFUSED, refused={refusal: 1})


def _sizes(name: str) -> tuple[int | None, ...]:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    side = max(config.input_size[1:]) if config is not None else 0
    return (*SMALLER_PX, None) if side > LARGE_PX else (None,)


def _found(report: CaptureReport) -> dict[str, Any]:
    layers = report.layers
    return {
        "n_read": len(layers),
        "attention": dict(Counter(layer.attention for layer in layers)),
        "grids": tuple(
            dict.fromkeys(layer.query_grid for layer in layers if any(layer.query_grid))
        ),
        "prefix": max((layer.prefix for layer in layers), key=len, default=()),
        "refused": dict(Counter(reading.reason for reading in report.refused)),
    }
