"""Checkpoints by name: the embedded ones, timm's, the Hugging Face hub's, a local file's."""

import difflib
import importlib.resources
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageNetInfo, infer_imagenet_subset
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from .checkpoint import Checkpoint, Preprocessing
from .errors import MISFIT, HeadscopeError, first_line
from .families import family_of
from .precision import check_precision
from .weights_file import read_config, read_tensors

DEMO = "demo/"
HUB = "hf-hub:"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Files that are taken for weights."""

_SEEDING = threading.Lock()


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
    in_chans: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Checkpoint:
    """A checkpoint, read and checked.

    Args:
        name: `"demo/supervised"`, any timm name, `"hf-hub:owner/name"`, or a local
            `.safetensors` or `.pth` file.
        arch: timm architecture of a local file that does not name its own.
        pretrained: False leaves the weights of a timm architecture random.
        seed: of the random weights.
        image_size: input height and width in pixels, where it is not the one trained on.
        in_chans: channels of the input, where they are not the architecture's own.
        device: where the network runs, such as `"cpu"` or `"cuda"`.
        precision: `"float32"`, or `"bfloat16"` (`"float16"` on CUDA) for importance that is faster
            and a little less precise. The weights stay in float32, and so does the clean pass:
            what an ablation changes is computed in the other precision (`models/precision.py`).

    Raises:
        HeadscopeError: unknown name, no network, damaged or unsafe file, wrong tensors, an input
            size or a family that cannot be taken, a precision that the device does not have.
    """
    name = str(name)
    where = _device(device)
    check_precision(precision, where)
    if not 0 <= seed < 2**63:
        raise HeadscopeError(f"The seed {seed} is out of range; expected 0 to 2⁶³ − 1.")
    source = _find(name, arch)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) <= 0:
        raise HeadscopeError(
            f"An input of {size[1]}×{size[0]} px (width × height) is no whole number of patches; "
            "expected sizes above 0."
        )
    if in_chans is not None:
        source = replace(source, model_args={**source.model_args, "in_chans": in_chans})
    if source.state is not None:
        model = _create(source, name, pretrained=False, seed=seed)
        _fill(model, source.state(), name)
    else:
        if pretrained or name.startswith(HUB):
            _check_reachable(source.architecture)
        model = _create(source, name, pretrained=pretrained, seed=seed, size=size)
    if size is not None:
        _resize(model, name, size)
    try:
        return Checkpoint.of(
            model.to(where),
            name=name,
            architecture=source.architecture,
            preprocessing=_preprocessing(model, size, in_chans),
            labels=_labels(model, source.architecture),
            loaded_with={
                "name": name,
                "arch": arch,
                "pretrained": pretrained,
                "seed": seed,
                "image_size": size,
                "in_chans": in_chans,
                "precision": precision,
            },
        )
    except MISFIT as error:
        raise HeadscopeError(
            f"{name} was built, but does not run: {first_line(error)} Its configuration may "
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
    config = read_config(path)

    def state() -> dict[str, Tensor]:
        return read_tensors(path)

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


def _create(
    source: Source,
    name: str,
    *,
    pretrained: bool,
    seed: int,
    size: tuple[int, int] | None = None,
) -> nn.Module:
    """Build a network; for `size` where its architecture has to know it beforehand."""
    if size is not None and source.state is None:
        sized = replace(source, model_args={**source.model_args, "img_size": size})
        try:
            return _create(sized, name, pretrained=pretrained, seed=seed)
        except HeadscopeError as error:
            if isinstance(error.__cause__, OSError):
                raise
            # Convolutions take any size, and ask for none.
            if not isinstance(error.__cause__, TypeError):
                raise HeadscopeError(
                    f"{name} cannot take {size[1]}×{size[0]} px (width × height): "
                    f"{first_line(error.__cause__ or error)}"
                ) from error
    arguments: dict[str, Any] = dict(source.model_args)
    if source.pretrained_cfg is not None:
        arguments["pretrained_cfg_overlay"] = source.pretrained_cfg
        arguments.setdefault("num_classes", source.pretrained_cfg.get("num_classes"))
    # The generator is the process's: one model at a time, and the caller draws on undisturbed.
    try:
        with _SEEDING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(source.architecture, pretrained=pretrained, **arguments)
    except (OSError, *MISFIT) as error:
        way_out = (
            "Its configuration may not be timm's."
            if source.state is not None
            else "Check the name and the network, or take random weights: --no-pretrained "
            "(pretrained=False)."
        )
        raise HeadscopeError(
            f"{name} could not be loaded: {first_line(error)} {way_out}"
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


def _resize(model: nn.Module, name: str, size: tuple[int, int]) -> None:
    try:
        family_of(model).resize(model, size)
    except MISFIT as error:
        height, width = size
        raise HeadscopeError(
            f"{name} cannot take {width}×{height} px (width × height): {first_line(error)}"
        ) from error


def _preprocessing(
    model: nn.Module, size: tuple[int, int] | None, in_chans: int | None
) -> Preprocessing:
    config = resolve_data_config(model=model)
    channels, height, width = config["input_size"]
    return Preprocessing(
        size or family_of(model).built_size(model) or (height, width),
        _of_channels(config["mean"], in_chans or channels),
        _of_channels(config["std"], in_chans or channels),
        config["interpolation"],
        config["crop_pct"],
        config["crop_mode"],
    )


def _of_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One value a channel; where they are not those of the configuration, its mean for all."""
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels


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
            f"The device {name!r} is not there ({first_line(error)}); expected 'cpu' or 'cuda'."
        ) from error
    return device
