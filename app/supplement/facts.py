"""What a reader must know of a study: whose numbers they are, and how they were made."""

import json
import shlex
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..export.provenance import loaded_with

if TYPE_CHECKING:
    from ...analysis.study import Study


def facts(study: "Study") -> list[tuple[str, str]]:
    """Name and value, in the order in which they are shown."""
    data, settings = study.data, study.settings
    n_heads = [int(n) for n in data["n_heads"].values]
    kinds = Counter(layer.attention for layer in study.layer_layouts)
    ablations = settings.get("ablations") or []
    told = [
        ("Checkpoint", study.model),
        ("Architecture", data.attrs.get("architecture")),
        ("Weights", f"sha256 {study.model_digest}"),
        ("Heads", f"{sum(n_heads)} in {len(n_heads)} layers"),
        ("Attention", ", ".join(f"{kind} ({n})" for kind, n in kinds.items())),
        ("Classes", str(len(study.labels)) if study.labels else "none: features only"),
        ("Images", _images(study)),
        ("Input", json.loads(data.attrs["preprocessing"]).get("text")),
        ("Ablations", ", ".join(ablations) or "none: importance was left out"),
        ("Target class", _target(study)),
        ("Seed", None if settings.get("seed") is None else str(settings["seed"])),
        ("Numbers", f"{len(settings.get('metrics') or ())} metrics"),
        ("Made with", _versions(study)),
    ]
    return [(name, value) for name, value in told if value]


def _images(study: "Study") -> str:
    done = study.n_done
    return str(done) if done == study.n_images else f"{done} of {study.n_images} are done"


def _target(study: "Study") -> str | None:
    if "target" not in study.data:
        return None
    target = study.settings.get("target")
    return "each image's prediction" if target is None else study.labels[target]


def _versions(study: "Study") -> str:
    attrs = study.data.attrs
    others = json.loads(attrs.get("versions", "{}"))
    named = {"headscope": attrs.get("headscope_version"), **others}
    return ", ".join(f"{name} {number}" for name, number in named.items() if number)


def commands(study: "Study") -> list[str]:
    """What makes the study and the file again; names in capitals stand for the reader's own.

    A checkpoint that was made in Python has no name to analyse it by.
    """
    settings = study.settings
    told = loaded_with(study)
    size = told.get("image_size")
    options: dict[str, Any] = {
        "--factory": told.get("factory"),
        "--model": None if told.get("factory") else told.get("name"),
        "--arch": told.get("arch"),
        "--no-pretrained": told.get("pretrained") is False,
        "--in-chans": told.get("in_chans"),
        "--image-size": "x".join(map(str, size)) if size else None,
        "--precision": told.get("precision") if told.get("precision") != "float32" else None,
        "--target": settings.get("target"),
        "--ablations": ",".join(settings.get("ablations") or ()),
        "--no-importance": not settings.get("ablations"),
        "--labels": None if settings.get("labels") is None else "LABELS",
        "--seed": settings.get("seed") or None,
    }
    writing = "headscope supplement STUDY.zarr --out FILE.html"
    if not told.get("name"):
        return [writing]
    words = ["headscope", "analyze", "IMAGES"]
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False and value != "":
            words += [name, shlex.quote(str(value))]
    return [" ".join([*words, "--out", "STUDY.zarr"]), writing]


def made_by() -> str:
    """The program that writes the file."""
    return f"headscope {version('headscope')}"
