"""Work in the background: started once for each key, watched by any number of sessions."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 (not an error: somebody asked for it)
    """Raised in a job that was asked to stop, by the job's own `report`."""


@dataclass(eq=False)
class Job(Generic[T]):
    """One piece of work: its progress, its result, and a way to stop it."""

    key: Hashable
    title: str
    future: "Future[T]" = field(default_factory=Future)
    done_share: float = 0.0
    """0…1."""
    text: str = ""
    """What is under way, where the work says so."""
    so_far: Any = None
    """What the work has found until now, where it says so; it outlives a stop."""
    size: int | None = None
    """What its result holds, once it was measured."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def report(self, done_share: float, text: str = "", so_far: Any = None) -> None:
        """Called by the work as it goes; raises `Stopped` where nobody wants it any more."""
        if so_far is not None:
            self.so_far = so_far
        if self._stop.is_set():
            raise Stopped
        self.done_share, self.text = min(1.0, max(0.0, done_share)), text

    def stop(self) -> None:
        """Ask the work to stop; it does at its next `report`."""
        self._stop.set()
        self.future.cancel()

    def wait(self, seconds: float) -> bool:
        """Whether the work ended (well or not) within that time."""
        wait([self.future], timeout=seconds)
        return self.future.done()

    @property
    def running(self) -> bool:
        return not self.future.done()

    @property
    def stopped(self) -> bool:
        """Ended because it was asked to."""
        return self.future.cancelled() or (
            self.future.done() and isinstance(self.future.exception(), Stopped)
        )

    @property
    def result(self) -> T | None:
        """The result; None while running and after a stop. Raises what the work raised."""
        return None if self.running or self.stopped else self.future.result()


class Jobs:
    """Jobs by key; results are forgotten, least recently used first, once they are too large.

    A session claims the jobs that its page waits for; one that nobody claims any more is stopped.
    """

    def __init__(
        self, *, workers: int, most: int, size: Callable[[Any], int] = lambda _: 1
    ) -> None:
        """Keep results of together at most `most`, as `size` measures each (by default: one)."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="headscope")
        self._most, self._size = most, size
        self._jobs: OrderedDict[Hashable, Job[Any]] = OrderedDict()
        self._claims: dict[tuple[str, str], Hashable] = {}
        self._lock = threading.Lock()

    def start(self, key: Hashable, title: str, work: Callable[[Job[T]], T]) -> Job[T]:
        """The job of that key: the one that runs or ran, or a new one."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = Job(key, title)
                self._jobs[key] = job
                job.future = self._pool.submit(work, job)
            self._jobs.move_to_end(key)
            self._tidy(key)
            return job

    def _tidy(self, newest: Hashable) -> None:
        ended = {key: self._size_of(job) for key, job in self._jobs.items() if not job.running}
        total = sum(ended.values())
        for key, size in ended.items():
            if total > self._most and key != newest:
                del self._jobs[key]
                total -= size

    def _size_of(self, job: Job[Any]) -> int:
        if job.size is None:  # measured once: a result may have many parts
            there = not job.stopped and job.future.exception() is None
            job.size = self._size(job.future.result()) if there else 0
        return job.size

    def found(self, key: Hashable) -> Job[Any] | None:
        """The job of that key, if it ran or runs; nothing is started, and nobody waits for it."""
        with self._lock:
            return self._jobs.get(key)

    def forget(self, key: Hashable) -> None:
        """Drop a job, so that the next `start` does the work again."""
        with self._lock:
            self._jobs.pop(key, None)

    def claim(self, session: str, role: str, key: Hashable | None) -> None:
        """Say which job a session waits for in a role; the one before it may be stopped."""
        with self._lock:
            before = self._claims.get((session, role))
            if key is None:
                self._claims.pop((session, role), None)
            else:
                self._claims[session, role] = key
            job = self._jobs.get(before) if before not in (None, key) else None
            if job is None or not job.running or before in self._claims.values():
                return
            job.stop()
            del self._jobs[job.key]

    def release(self, is_gone: Callable[[str], bool]) -> None:
        """Give up what sessions wait for that nobody looks at any more."""
        with self._lock:
            claims = list(self._claims)
        for session, role in claims:
            if is_gone(session):
                self.claim(session, role, None)
