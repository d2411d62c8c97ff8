"""Things by name, registered by the files that define them."""

import importlib
import pkgutil
import threading
from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one sort by name: a file that defines one registers it, and nobody keeps a list."""

    def __init__(self, what: str, *, folder: str | None = None) -> None:
        """`folder` is the package whose modules register themselves when they are imported."""
        self._what = what
        self._folder = folder
        self._things: dict[str, T] = {}
        self._files: dict[str, str] = {}
        """The module that defines each."""
        self._loading = threading.RLock()  # the app asks from several threads at once

    def add(self, name: str, thing: T, *, file: str = "") -> None:
        """Register a thing, and the module that defines it, where there is a folder of them.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._things:
            raise ValueError(f"there are two {self._what} called {name!r}")
        self._things[name] = thing
        self._files[name] = file

    @property
    def all(self) -> Mapping[str, T]:
        """Everything that is registered, by name, in the order of the files.

        Not in that of their imports: somebody may have asked for a later file first.
        """
        with self._loading:
            if self._folder is not None:
                for module in pkgutil.iter_modules(importlib.import_module(self._folder).__path__):
                    importlib.import_module(f"{self._folder}.{module.name}")
                by_file = sorted(self._things, key=self._files.__getitem__)
                self._things = {name: self._things[name] for name in by_file}
                self._folder = None
        return self._things
