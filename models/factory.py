"""Checkpoints that a user's own function makes: `package.module:function`, `file.py:function`."""

import hashlib
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from .checkpoint import Checkpoint
from .errors import HeadscopeError, first_line
from .precision import check_precision
from .wrapping import wrap

_IMPORTING = threading.Lock()


def from_factory(
    factory: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str | None = None,
) -> Checkpoint:
    """Run a function of the user's, and read the model that it gives.

    Args:
        factory: `"package.module:function"`, also of the working directory, or
            `"file.py:function"`. The function is called without arguments, and returns a
            `torch.nn.Module`, or a `Checkpoint` where more is to be said (`wrap`).
        image_size: input height and width in pixels, for a module that does not tell its own.
        seed: of the random weights that the function may draw.
        device: where the network runs.
        precision: as `load` takes it; None: that of the checkpoint, if it is one.

    Raises:
        HeadscopeError: no such module or function, the function raises, or gives something else.
    """
    function = _find(factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = function()
        except HeadscopeError as error:
            raise HeadscopeError(f"{factory} raised: {error}") from error
        except Exception as error:
            raise HeadscopeError(f"{factory} raised {_named(error)}") from error
    if isinstance(made, Checkpoint) and image_size is not None:
        raise HeadscopeError(
            f"{factory} returns a checkpoint, which has its input size: leave --image-size out."
        )
    if isinstance(made, nn.Module):
        try:
            made = wrap(made.to(device), image_size=image_size)
        except HeadscopeError as error:
            raise HeadscopeError(
                f"{error} {factory} may return wrap(…), which says more."
            ) from error
    if not isinstance(made, Checkpoint):
        raise HeadscopeError(
            f"{factory} returns {type(made).__name__}; expected a torch.nn.Module or a Checkpoint "
            "(headscope.wrap makes one)."
        )
    made.model.to(device)
    chosen = str(precision or made.loaded_with.get("precision", "float32"))
    check_precision(chosen, made.device)
    told = {
        "name": made.name,
        "factory": absolute(factory),
        "seed": seed,
        "image_size": made.preprocessing.size if image_size is not None else None,
        "precision": chosen,
    }
    return replace(made, loaded_with=told)


def absolute(factory: str) -> str:
    """A file by its whole path, as a study may be opened from another folder."""
    where, _, function = factory.rpartition(":")
    return f"{Path(where).expanduser().resolve()}:{function}" if _is_file(where) else factory


def _is_file(where: str) -> bool:
    return where.endswith(".py")


def _find(factory: str) -> Callable[[], Any]:
    where, colon, name = factory.rpartition(":")
    if not (colon and where and name.isidentifier()):
        raise HeadscopeError(
            f"{factory!r} names no function; expected package.module:function or file.py:function."
        )
    module = _module(where)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if _is_own(key, value, module)]
        there = f"its functions are: {', '.join(known[:8])}" if known else "it has no functions"
        raise HeadscopeError(f"There is no {name} in {where}; {there}.")
    function = getattr(module, name)
    if not callable(function):
        raise HeadscopeError(
            f"{factory} is {type(function).__name__}; expected a function that takes no arguments."
        )
    return function


def _is_own(name: str, value: Any, module: ModuleType) -> bool:
    mine = getattr(value, "__module__", None) == module.__name__
    return callable(value) and not name.startswith("_") and mine


def _module(where: str) -> ModuleType:
    path = Path(where).expanduser()
    if _is_file(where) and not path.is_file():
        raise HeadscopeError(f"There is no file {where}.")
    try:
        with _IMPORTING, _on_path(path.resolve().parent if _is_file(where) else Path.cwd()):
            return _import_file(path.resolve()) if _is_file(where) else _import(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise HeadscopeError(
                f"There is no module {where!r}, neither installed nor in the working directory; "
                "a file is named with its ending, as in model.py:function."
            ) from error
        raise HeadscopeError(f"{where} could not be imported: {_named(error)}") from error
    except Exception as error:
        raise HeadscopeError(f"{where} could not be imported: {_named(error)}") from error


def _import(name: str) -> ModuleType:
    if name.startswith(".") or not all(part.isidentifier() for part in name.split(".")):
        raise ModuleNotFoundError(name=name)
    return importlib.import_module(name)


def _import_file(path: Path) -> ModuleType:
    # A name of its own: what is called model.py here may be another model.py than the last.
    name = f"headscope_factory_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "the ending is .py"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """What a script beside it could import, can be imported."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
