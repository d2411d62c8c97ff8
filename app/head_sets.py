"""Head sets that somebody named and kept: on disk, by user, beside those of the same heads."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imports torch; the page shows its frame first
    from .. import HeadSet

HOME = "HEADSCOPE_HOME"
"""The environment variable that names another place than the user's own."""
LONGEST = 80
"""Characters of a name."""
_MOST_BYTES = 1_000_000
"""Of an uploaded set; one of a thousand heads has 10 kB."""


def home() -> Path:
    """Where headscope keeps what a user made: `$HEADSCOPE_HOME`, or the user's data folder."""
    named = os.environ.get(HOME)
    if named:
        return Path(named).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "headscope"


@dataclass(frozen=True)
class Shelf:
    """The sets of checkpoints with one architecture and the same heads."""

    architecture: str
    n_heads: tuple[int, ...]

    @property
    def folder(self) -> Path:
        text = f"{self.architecture} {' '.join(map(str, self.n_heads))}"
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.architecture).strip(".-")[:60] or "heads"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return home() / "head-sets" / f"{name}-{digest}"

    def path(self, name: str) -> Path:
        """The file of a set: any name is possible, so it is not the file's own."""
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"

    def all(self) -> "dict[str, HeadSet]":
        """By name; a file that holds no set of these heads is passed over."""
        from .. import HeadscopeError, HeadSet

        found: dict[str, HeadSet] = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                headset = HeadSet.load(path)
                self.check(headset)
            except HeadscopeError:
                continue
            found[headset.name] = headset
        return dict(sorted(found.items(), key=lambda item: item[0].casefold()))

    def save(self, headset: "HeadSet") -> None:
        """Keep a set; one of the same name is replaced, at once or not at all.

        Raises:
            HeadscopeError: the name is none, a head is not there, or nothing can be written.
        """
        from .. import HeadscopeError

        checked_name(headset.name)
        self.check(headset)
        path = self.path(headset.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
            ) as file:
                part = Path(file.name)
                try:
                    file.write(self.text(headset))
                    file.flush()
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise HeadscopeError(
                f"{path.parent} cannot be written ({error.strerror or error}); set {HOME} to a "
                "folder that can."
            ) from error

    def text(self, headset: "HeadSet") -> str:
        """As `HeadSet.load` reads it, with whose heads they are."""
        content = {
            "name": headset.name,
            "query": headset.query,
            "heads": [list(head) for head in headset.heads],
            "architecture": self.architecture,
            "n_heads": list(self.n_heads),
        }
        return json.dumps(content, ensure_ascii=False) + "\n"

    def delete(self, name: str) -> None:
        """Forget a set.

        Raises:
            HeadscopeError: the folder cannot be written.
        """
        from .. import HeadscopeError

        try:
            self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise HeadscopeError(
                f"{self.folder} cannot be written ({error.strerror or error}), so {name!r} stays; "
                "give yourself the right to write there."
            ) from error

    def rename(self, old: str, new: str) -> None:
        """Give a set another name.

        Raises:
            HeadscopeError: there is no such set, another has the name, or it is none.
        """
        from .. import HeadscopeError, HeadSet

        known = self.all()
        if old not in known:
            raise HeadscopeError(f"There is no set {old!r} any more; choose another one.")
        name = checked_name(new)
        if name == old:
            return
        if name in known:
            raise HeadscopeError(f"There is a set {name!r} already; choose another name.")
        self.save(HeadSet(name, known[old].heads, known[old].query))
        self.delete(old)

    def read(self, data: bytes, file: str) -> "HeadSet":
        """A set that was uploaded, as `HeadSet.save` or the page wrote it.

        Raises:
            HeadscopeError: it is none, or of other heads.
        """
        from .. import HeadscopeError, HeadSet

        try:
            if len(data) > _MOST_BYTES:
                raise ValueError
            content: Any = json.loads(data.decode("utf-8"))
            headset = HeadSet(
                str(content["name"]), tuple(content["heads"]), str(content.get("query", ""))
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise HeadscopeError(
                f"{file} holds no head set; the page and HeadSet.save write one, as JSON with "
                '"name" and "heads": [[layer, head], …].'
            ) from error
        checked_name(headset.name)
        self.check(headset)
        return headset

    def check(self, headset: "HeadSet") -> None:
        """Raise a HeadscopeError unless all heads of a set are there."""
        from .. import HeadscopeError

        for layer, head in headset.heads:
            if layer >= len(self.n_heads) or head >= self.n_heads[layer]:
                raise HeadscopeError(
                    f"The set {headset.name!r} has layer {layer}, head {head}, which "
                    f"{self.architecture} has not: its layers have {heads_in_words(self.n_heads)}; "
                    "take a set of a checkpoint with the same heads."
                )


def checked_name(name: str) -> str:
    """A name without the space around it.

    Raises:
        HeadscopeError: it is none.
    """
    from .. import HeadscopeError

    stripped = name.strip()
    if not stripped or len(stripped) > LONGEST or not stripped.isprintable():
        raise HeadscopeError(
            f"The name {name[:LONGEST]!r} cannot be used; give one to {LONGEST} characters on one "
            "line."
        )
    return stripped


def heads_in_words(n_heads: Sequence[int]) -> str:
    """How many heads there are: "6 layers of 4 heads"."""
    if len(set(n_heads)) == 1:
        return f"{n_heads[0]} heads in each of {len(n_heads)} layers"
    return f"{', '.join(map(str, n_heads))} heads"
