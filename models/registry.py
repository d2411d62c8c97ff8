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
        self._loading = threading.RLock()  # the app asks from several threads at once

    def add(self, name: str, thing: T) -> None:
        """Register a thing.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._things:
            raise ValueError(f"there are two {self._what} called {name!r}")
        self._things[name] = thing

    @property
    def all(self) -> Mapping[str, T]:
        """Everything that is registered, by name, in the order of the files."""
        with self._loading:
            if self._folder is not None:
                for module in pkgutil.iter_modules(importlib.import_module(self._folder).__path__):
                    importlib.import_module(f"{self._folder}.{module.name}")
                self._folder = None
        return self._things
