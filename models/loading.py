"""Checkpoints by name: the embedded ones, timm's, the Hugging Face hub's, a local file's."""

import argparse
import difflib
import importlib.resources
import json
import pickle
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from .checkpoint import Checkpoint, Preprocessing
from .errors import HeadscopeError
from .families import family_of

DEMO = "demo/"
HUB = "hf-hub:"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Files that are taken for weights."""

_SEEDING = threading.Lock()
_MISFIT = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, AttributeError)
"""What a model raises that is built or run with arguments that do not fit it."""
_UNREADABLE = (RuntimeError, EOFError, OSError, KeyError, ValueError, TypeError, IndexError)
"""What `torch.load` raises for a file that is cut short, or that is no checkpoint at all."""


@dataclass(frozen=True)
class Source:
    """Where weights come from, and how the network that takes them is built."""

    architecture: str
    model_args: dict[str, Any] = field(default_factory=dict)
    pretrained_cfg: dict[str, Any] | None = None
    state: Callable[[], dict[str, Tensor]] | None = None
    """Reads the tensors; None where timm itself fills the network."""


def load(
    name: str | Path,
    *,
    arch: str | None = None,
    pretrained: bool = True,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    device: str = "cpu",
) -> Checkpoint:
    """A checkpoint, read and checked.

    Args:
        name: `"demo/supervised"`, any timm name, `"hf-hub:owner/name"`, or a local
            `.safetensors` or `.pth` file.
        arch: timm architecture of a local file that does not name its own.
        pretrained: False leaves the weights of a timm architecture random.
        seed: of the random weights.
        image_size: input height and width in pixels, where it is not the one trained on.
        device: where the network runs, such as `"cpu"` or `"cuda"`.

    Raises:
        HeadscopeError: unknown name, no network, damaged or unsafe file, wrong tensors, an input
            size or a family that cannot be taken.
    """
    name = str(name)
    where = _device(device)
    if not 0 <= seed < 2**63:
        raise HeadscopeError(f"The seed {seed} is out of range; expected 0 to 2⁶³ − 1.")
    source = _find(name, arch)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if source.state is not None:
        model = _create(source, name, pretrained=False, seed=seed)
        _fill(model, source.state(), name)
    else:
        if pretrained or name.startswith(HUB):
            _check_reachable(source.architecture)
        model = _create(source, name, pretrained=pretrained, seed=seed)
    if size is not None:
        family_of(model).resize(model, size)
    try:
        return Checkpoint.of(
            model.to(where),
            name=name,
            architecture=source.architecture,
            preprocessing=_preprocessing(model, size),
            labels=_labels(model, source.architecture),
            loaded_with={
                "name": name,
                "arch": arch,
                "pretrained": pretrained,
                "seed": seed,
                "image_size": size,
            },
        )
    except _MISFIT as error:
        raise HeadscopeError(
            f"{name} was built, but does not run: {_first_line(error)} Its configuration may "
            "not be that of its weights."
        ) from error


def known_checkpoints() -> tuple[str, ...]:
    """The embedded checkpoints."""
    return tuple(
        sorted(
            DEMO + Path(entry.name).stem
            for entry in _demo_folder().iterdir()
            if entry.name.endswith(".safetensors")
        )
    )


def _demo_folder() -> Any:
    return importlib.resources.files(__name__.partition(".")[0]) / "assets" / "demo"


def _find(name: str, arch: str | None) -> Source:
    if name.startswith(DEMO) and arch is None:
        if name not in known_checkpoints():
            raise HeadscopeError(
                f"There is no embedded checkpoint {name!r}; there are: "
                f"{', '.join(known_checkpoints())}."
            )
        return _file_source(Path(str(_demo_folder() / f"{name[len(DEMO) :]}.safetensors")), None)
    path = Path(name).expanduser()
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # too long for any file
        raise HeadscopeError(
            f"{name[:60]}… is no name of a checkpoint ({error.strerror})."
        ) from error
    if is_file:
        return _file_source(path, arch)
    if arch is not None:
        raise HeadscopeError(
            f"{name} names its own architecture; arch (--arch) is for local files."
        )
    if name.startswith(HUB):
        return Source(name)
    if is_folder:
        raise HeadscopeError(f"{name or '.'} is a folder; name the weights file in it.")
    if path.suffix in SUFFIXES or name.startswith((".", "/", "~")):
        raise HeadscopeError(f"There is no file {name}.")
    if not timm.is_model(name):
        raise HeadscopeError(f"There is no checkpoint {name!r}.{_nearest(name)}")
    return Source(name)


def _nearest(name: str) -> str:
    everything = [*known_checkpoints(), *timm.list_models()]
    near = difflib.get_close_matches(name.partition(".")[0], everything, n=3, cutoff=0.5)
    return f" The nearest names are: {', '.join(near)}." if near else " See timm.list_models()."


def _file_source(path: Path, arch: str | None) -> Source:
    config = _file_config(path)

    def state() -> dict[str, Tensor]:
        return _read_tensors(path)

    architecture = arch or config.get("architecture")
    if architecture is None:
        raise HeadscopeError(
            f"{path} does not say which architecture it holds; name it, as in "
            "arch='vit_small_patch16_224' (--arch on the command line)."
        )
    if not timm.is_model(architecture):
        raise HeadscopeError(f"There is no architecture {architecture!r}.{_nearest(architecture)}")
    pretrained_cfg = dict(config.get("pretrained_cfg") or {})
    for key in ("label_names", "label_descriptions", "num_classes"):
        if config.get(key) is not None:
            pretrained_cfg[key] = config[key]
    return Source(architecture, dict(config.get("model_args") or {}), pretrained_cfg or None, state)


def _file_config(path: Path) -> dict[str, Any]:
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
            f"The configuration in {where} is no JSON ({_first_line(error)}) Mend it or remove it."
        ) from error
    parts = (
        (config, *(config.get(k) or {} for k in ("model_args", "pretrained_cfg")))
        if (isinstance(config, dict))
        else (config,)
    )
    if not all(isinstance(part, dict) for part in parts) or not isinstance(
        config.get("architecture", ""), str
    ):
        raise HeadscopeError(
            f"The configuration in {where} is not timm's: expected an architecture, model_args and "
            "pretrained_cfg, as timm saves for the hub."
        )
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
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
        raise HeadscopeError(f"{path} is no whole checkpoint ({_first_line(error)})") from error
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


def _fill(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Put a state dict into a model, or say tensor by tensor what does not fit."""
    expected = model.state_dict()
    wrong = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    wrong += [f"{key} is missing" for key in expected if key not in state]
    wrong += [f"{key} is not in the architecture" for key in state if key not in expected]
    if wrong:
        shown = "; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else "")
        raise HeadscopeError(
            f"{name} does not fit {type(model).__name__}: {shown}. Is it another architecture, or "
            "another number of classes?"
        )
    model.load_state_dict(state)


def _create(source: Source, name: str, *, pretrained: bool, seed: int) -> nn.Module:
    arguments: dict[str, Any] = dict(source.model_args)
    if source.pretrained_cfg is not None:
        arguments["pretrained_cfg_overlay"] = source.pretrained_cfg
        arguments.setdefault("num_classes", source.pretrained_cfg.get("num_classes"))
    # The generator is the process's: one model at a time, and the caller draws on undisturbed.
    try:
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(source.architecture, pretrained=pretrained, **arguments)
    except (OSError, *_MISFIT) as error:
        way_out = (
            "Its configuration may not be timm's."
            if source.state is not None
            else "Check the name and the network, or take random weights: --no-pretrained "
            "(pretrained=False)."
        )
        raise HeadscopeError(
            f"{name} could not be loaded: {_first_line(error)} {way_out}"
        ) from error


def _check_reachable(architecture: str) -> None:
    """Raise a HeadscopeError at once where weights are neither cached nor reachable.

    Without this, the hub's client tries for about 50 seconds.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if architecture.startswith(HUB):
        repository = architecture.removeprefix(HUB).partition("@")[0]
    else:
        config = timm.get_pretrained_cfg(architecture)
        repository = config.hf_hub_id if config else None
        if not repository and not (config and config.url):
            raise HeadscopeError(
                f"timm has no trained weights for {architecture!r}; --no-pretrained "
                "(pretrained=False) opens it with random weights."
            )
    if not repository:
        return  # a plain address: tried once, by timm
    cached = any(
        isinstance(try_to_load_from_cache(repository, file), str)
        for file in ("model.safetensors", "pytorch_model.bin")
    )
    if cached:
        return
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError:
        return  # it answers
    except OSError as error:
        raise HeadscopeError(
            f"The weights of {architecture} are not on this machine, and "
            f"{constants.ENDPOINT} cannot be reached. Connect to the network, name a local file, "
            f"use {' or '.join(known_checkpoints())}, or take random weights: --no-pretrained "
            "(pretrained=False)."
        ) from error


def _preprocessing(model: nn.Module, size: tuple[int, int] | None) -> Preprocessing:
    config = resolve_data_config(model=model)
    channels, height, width = config["input_size"]
    if channels != 3:
        raise HeadscopeError(f"The model takes {channels} channels; only 3 can be read yet.")
    return Preprocessing(
        size or family_of(model).built_size(model) or (height, width),
        tuple(config["mean"]),
        tuple(config["std"]),
        config["interpolation"],
        config["crop_pct"],
        config["crop_mode"],
    )


def _labels(model: nn.Module, architecture: str) -> tuple[str, ...]:
    """Class names from the checkpoint's own configuration, ImageNet's, or numbers."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    n_classes = int(getattr(model, "num_classes", 0))
    names = config.get("label_names")
    if isinstance(names, dict):
        names = [names.get(str(i), names.get(i, f"class {i}")) for i in range(n_classes)]
    if names is not None and len(names) == n_classes:
        descriptions = config.get("label_descriptions")
        descriptions = descriptions if isinstance(descriptions, dict) else {}
        return tuple(str(descriptions.get(name, name)) for name in names)
    subset = infer_imagenet_subset(model)
    if subset is not None:
        info = ImageNetInfo(subset)
        return tuple(info.index_to_description(i) for i in range(n_classes))
    if "clip" in f"{architecture} {config.get('tag')}":
        return ()  # the last layer of an image tower gives an embedding, not classes
    return tuple(f"class {i}" for i in range(n_classes))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} cannot be used yet")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise HeadscopeError(
            f"The device {name!r} is not there ({_first_line(error)}); expected 'cpu' or 'cuda'."
        ) from error
    return device


def _first_line(error: BaseException) -> str:
    """The first line of an error's text, as a sentence."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{line}."
