"""A bounded store: what was not used for longest goes first."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Things by key, together of at most `most` units of size (bytes, or pieces)."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._things: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        with self._lock:
            if key not in self._things:
                return None
            self._things.move_to_end(key)
            return self._things[key][0]

    def put(self, key: Hashable, thing: T, size: int = 1) -> None:
        """Keep a thing; the newest is kept even where it alone is too large."""
        with self._lock:
            self._things[key] = thing, size
            self._things.move_to_end(key)
            while len(self._things) > 1 and sum(s for _, s in self._things.values()) > self.most:
                self._things.popitem(last=False)
