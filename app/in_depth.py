"""The work behind the parts of "in depth": in the background, one after the other, and kept."""

from collections.abc import Callable, Hashable
from typing import Any

from .jobs import Job
from .services import claimed, jobs_in_depth, session


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
