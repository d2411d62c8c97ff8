"""The work behind the parts of "in depth": in the background, and kept."""

from collections.abc import Callable, Hashable
from typing import Any

from .jobs import Job
from .services import claimed, jobs_at_once, jobs_in_depth, jobs_references, session


def start(part: str, key: Hashable, title: str, work: Callable[[Job[Any]], Any]) -> Job[Any]:
    """The work of a part for this session, running or done; what it ran before is given up.

    `key` names all that the result depends on.
    """
    return claimed(jobs_in_depth(), part, (part, key), title, work)


def stop(part: str) -> None:
    """Stop what a part runs for this session."""
    jobs_in_depth().claim(session(), part, None)


def retry(job: Job[Any]) -> None:
    """Do failed or stopped work again at the next run."""
    jobs_in_depth().forget(job.key)


def start_at_once(
    part: str, key: Hashable, title: str, work: Callable[[Job[Any]], Any]
) -> Job[Any]:
    """As `start`, for what a click waits for: of many clicks the running one and the last compute,
    what lies between is dropped before it began."""
    return claimed(jobs_at_once(), part, (part, key), title, work)


def stop_at_once(*parts: str) -> None:
    """Stop what was started at once."""
    for part in parts:
        jobs_at_once().claim(session(), part, None)


def retry_at_once(job: Job[Any]) -> None:
    """Do failed or stopped work again at the next run."""
    jobs_at_once().forget(job.key)


def stop_reference() -> None:
    """Stop waiting for it; it goes on where another session waits."""
    jobs_references().claim(session(), "reference", None)


def reference(key: Hashable, title: str, work: Callable[[Job[Any]], Any]) -> Job[Any]:
    """What heads give over some images, once for all sessions and parts."""
    return claimed(jobs_references(), "reference", key, title, work)
