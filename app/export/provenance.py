"""Where figures come from: weights, images, versions, settings, and the command for them."""

import importlib.metadata
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from .sheet import FORMATS, Sheet

if TYPE_CHECKING:
    from ... import Study
    from ..figures.paper import Request

_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_LIBRARIES = ("headscope", "torch", "timm", "numpy", "scipy", "plotly", "kaleido", "pillow")


def facts_of(request: "Request", names: Sequence[str], sheet: Sheet, formats: Sequence[str]) -> Any:
    """What a reader needs to make the same figures."""
    return {
        "made_by": "headscope",
        "figures": list(names),
        "command": command(request, names, sheet, formats),
        "study": _study(request.study),
        **({"against": _study(request.against)} if request.against is not None else {}),
        "choices": {
            "metric": request.metric,
            "other_metric": request.other,
            "head": None if request.head is None else list(request.head),
            "image": request.image,
            "scope": request.scope,
            "query": request.query,
            "method": request.method,
            "marked": [list(head) for head in request.marked],
        },
    }


def provenance(facts: Mapping[str, Any], sheet: Sheet, formats: Sequence[str]) -> bytes:
    """The facts with the print settings and versions, as JSON; no date, so that it stays the same.

    Versions are those that made the figures; the study has those that made it.
    """
    told = {
        **facts,
        "print": sheet.settings() | {"formats": list(formats)},
        "versions": {name: _version(name) for name in _LIBRARIES},
    }
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()


def command(request: "Request", names: Sequence[str], sheet: Sheet, formats: Sequence[str]) -> str:
    """The line that makes the same bytes, in the folder of the study."""
    said = ["headscope", "report", _place(request.study), "--out", "figures"]
    said += ["--figures", ",".join(names), *sheet.arguments()]
    if tuple(formats) != FORMATS:
        said += ["--formats", ",".join(formats)]
    said += arguments(request)
    attrs = request.study.data.attrs
    if "loaded_with" in attrs and (factory := loaded_with(request.study).get("factory")):
        said += ["--factory", str(factory)]  # its file lies beside the study, or is given in full
    return shlex.join(said)


def arguments(request: "Request") -> list[str]:
    """What is chosen, as `headscope report` takes it."""
    said: list[str] = []
    if request.metric is not None:
        said += ["--metric", request.metric]
    if request.other is not None:
        said += ["--other", request.other]
    if request.head is not None:
        said += ["--head", f"{request.head[0]}.{request.head[1]}"]
    if request.image is not None:
        said += ["--image", request.image]
    if request.scope != "mean":
        said += ["--scope", request.scope]
    if request.query is not None:
        said += ["--query", request.query]
    if request.method != "grad-cam":
        said += ["--method", request.method]
    if request.marked:
        said += ["--marked", ",".join(f"{layer}.{head}" for layer, head in request.marked)]
    if request.against is not None:
        said += ["--against", _place(request.against)]
    return said


def loaded_with(study: "Study") -> dict[str, Any]:
    """How the checkpoint was loaded; of a file its name alone, not where it lies here."""
    told: dict[str, Any] = json.loads(study.data.attrs["loaded_with"])
    if told.get("factory"):
        where, _, function = str(told["factory"]).rpartition(":")
        if where.endswith(".py"):
            told["factory"] = f"{_file(where)}:{function}"
    name = str(told.get("name") or "")
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    if absolute or name.endswith(_WEIGHTS):
        told["name"] = _file(name)
    return told


def _file(path: str) -> str:
    return PureWindowsPath(path).name  # it takes both sorts of slashes


def _place(study: "Study") -> str:
    """The study's name alone: the command is for its folder, and tells nobody of this machine."""
    return study.path.name if study.path is not None else "STUDY.zarr"


def _study(study: "Study") -> dict[str, Any]:
    attrs = study.data.attrs
    settings = {
        name: value for name, value in study.settings.items() if name not in ("images", "labels")
    }
    return {
        "file": _place(study),
        "model": study.model,
        "architecture": attrs.get("architecture"),
        "weights_sha256": study.model_digest,
        "loaded_with": loaded_with(study) if "loaded_with" in attrs else None,
        "preprocessing": json.loads(attrs["preprocessing"]),
        "seed": study.settings.get("seed"),
        "settings": settings,
        "made_with": {
            "headscope": attrs.get("headscope_version"),
            **json.loads(attrs.get("versions", "{}")),
        },
        "n_images": study.n_done,
        "images": [
            {"name": str(name), "sha256": str(digest)}
            for name, digest, done in zip(
                study.data["image"].values,
                study.data["image_digest"].values,
                study.data["done"].values,
                strict=True,
            )
            if done
        ],
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
