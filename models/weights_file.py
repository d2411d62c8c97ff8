"""Weights in a local file: tensors and timm's configuration; no code of the file is run."""

import argparse
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import HeadscopeError, first_line

_UNREADABLE = (RuntimeError, EOFError, OSError, KeyError, ValueError, TypeError, IndexError)
"""What `torch.load` raises for a file that is cut short, or that is no checkpoint at all."""


def read_config(path: Path) -> dict[str, Any]:
    """timm's configuration in a file's header, or in `config.json` beside it; may be empty."""
    text, where = "", path
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get("timm", "")
        except SafetensorError as error:
            raise HeadscopeError(
                f"{path} is not a whole safetensors file ({error}); fetch or save it again."
            ) from error
    beside = path.with_name("config.json")
    try:
        if not text and beside.is_file():
            text, where = beside.read_text(encoding="utf-8"), beside
        config = json.loads(text or "{}")
    except (OSError, ValueError) as error:
        raise HeadscopeError(
            f"The configuration in {where} is no JSON ({first_line(error)}) Mend it or remove it."
        ) from error
    is_timms = (
        isinstance(config, dict)
        and isinstance(config.get("architecture", ""), str)
        and all(isinstance(config.get(k) or {}, dict) for k in ("model_args", "pretrained_cfg"))
    )
    if not is_timms:
        raise HeadscopeError(
            f"The configuration in {where} is not timm's: expected an architecture, model_args and "
            "pretrained_cfg, as timm saves for the hub."
        )
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, without running any code of the file."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        # A Namespace is what timm's training script keeps its options in; it runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of old pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = _unsafe_globals(path)
        why = f"it holds code ({unsafe}), which loading would run" if unsafe else "it is damaged"
        raise HeadscopeError(
            f"{path} was not opened: {why}. Save the tensors alone, "
            "torch.save(model.state_dict(), …) or safetensors, and open that."
        ) from error
    except _UNREADABLE as error:
        raise HeadscopeError(f"{path} is no whole checkpoint ({first_line(error)})") from error
    # Usual wrappings, the averaged weights first, as timm's own loader has it.
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in (content.items() if isinstance(content, dict) else ())
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise HeadscopeError(f"{path} holds no named tensors; expected a state dict.")
    return tensors


def _unsafe_globals(path: Path) -> str:
    try:
        return ", ".join(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (pickle.UnpicklingError, *_UNREADABLE):
        return ""
