"""What is really in the images, where somebody knows: folder names, a CSV file, or the caller."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from timm.data import ImageNetInfo, infer_imagenet_subset

from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from .sources import Source

FOLDERS = "folders"
UNKNOWN = -1
Labels = str | Path | Mapping[str, int | str] | Sequence[int | str]
"""`"folders"`: the name of the folder that an image is in; a CSV file with the columns `image` and
`label`; classes by image name; or a class for each image, in the order in which they are given.
A class is an index or a label."""


def label_indices(checkpoint: Checkpoint, labels: Labels, sources: Sequence[Source]) -> list[int]:
    """The class index of each image; `UNKNOWN` where a file or a mapping has no word of it.

    Raises:
        HeadscopeError: the labels cannot be read, name no class, or fit no image.
    """
    if not checkpoint.has_classes:
        raise HeadscopeError(
            f"{checkpoint.name} has no classes: it computes features, and labels say nothing "
            "about them; leave them out."
        )
    said = _said(labels, sources)
    if all(text is None for text in said):
        raise HeadscopeError(
            f"None of {len(sources)} images has a label, such as {sources[0].name!r}; name them as "
            "the study or the file system does."
        )
    index_of: dict[int | str, int] = {}
    for source, text in zip(sources, said, strict=True):
        if text is not None and text not in index_of:
            try:
                index_of[text] = class_named(checkpoint, text)
            except HeadscopeError as error:
                raise HeadscopeError(f"The label of {source.name}: {error}") from error
    return [UNKNOWN if text is None else index_of[text] for text in said]


def class_named(checkpoint: Checkpoint, text: int | str) -> int:
    """A class as people name folders: by index, by label or one of its synonyms whatever the case,
    with `_` for a space, or by the WordNet name that ImageNet's folders have.

    Raises:
        HeadscopeError: no class, or more than one, is called so.
    """
    if isinstance(text, str) and text not in checkpoint.labels:
        wanted = _plain(text)
        found = [
            index
            for index, label in enumerate(checkpoint.labels)
            if wanted in {_plain(label), *map(_plain, label.split(","))}
        ]
        if len(found) == 1:
            return found[0]
        subset = infer_imagenet_subset(checkpoint.model)
        names = ImageNetInfo(subset).label_names() if subset else []
        if text in names:
            return names.index(text)
    return checkpoint.class_index(text)


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


def _said(labels: Labels, sources: Sequence[Source]) -> list[int | str | None]:
    if isinstance(labels, Mapping):
        return [labels.get(source.name) for source in sources]
    if isinstance(labels, (str, Path)):
        return _of_folders(sources) if labels == FOLDERS else _of_file(Path(labels), sources)
    last = max(source.place for source in sources)
    if len(labels) <= last:
        raise HeadscopeError(
            f"There are {len(labels)} labels for {last + 1} images or more; give one for each."
        )
    return [labels[source.place] for source in sources]


def _of_folders(sources: Sequence[Source]) -> list[int | str | None]:
    for source in sources:
        if not source.path:
            raise HeadscopeError(
                f"{source.name} is in no folder, so no folder names its label; give a CSV file, or "
                "the label itself."
            )
    return [Path(source.path).resolve().parent.name for source in sources]


def _of_file(path: Path, sources: Sequence[Source]) -> list[int | str | None]:
    """Images are named by their path, from the file's folder or from here, or by their name."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"image", "label"} <= set(reader.fieldnames or ()):
                raise HeadscopeError(
                    f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; "
                    'expected a first line "image,label".'
                )
            rows = [(row["image"] or "", (row["label"] or "").strip()) for row in reader]
    except OSError as error:
        raise HeadscopeError(
            f"The labels in {path} cannot be read ({error.strerror}); give a CSV file with the "
            f'columns image and label, or "{FOLDERS}".'
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise HeadscopeError(f"{path} is no CSV file in UTF-8: {error}.") from error
    by_name = {image: label for image, label in rows if label}
    by_path: dict[Path, str] = {}
    for image, label in by_name.items():
        by_path[(path.parent / image).resolve()] = label
        by_path.setdefault(Path(image).resolve(), label)
    return [
        by_path.get(Path(source.path).resolve(), by_name.get(source.name))
        if source.path
        else by_name.get(source.name)
        for source in sources
    ]
