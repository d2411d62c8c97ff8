"""Background work: shared, counted, stopped."""

import threading

import pytest

from headscope.app.jobs import Job, Jobs
from headscope.app.shelf import Shelf

LONG = 30.0
"""Seconds until a test that hangs gives up."""


def gated(gate: threading.Event, result: object = "done"):
    """Work that goes on until the gate opens, and listens meanwhile."""

    def work(job: Job) -> object:
        while not gate.wait(0.005):
            job.report(0.5)
        return result

    return work


def test_a_key_is_worked_on_once() -> None:
    jobs, gate, calls = Jobs(workers=2, most=10), threading.Event(), []

    def work(job: Job) -> int:
        calls.append(job.key)
        gate.wait(LONG)
        return 7

    first, second = (jobs.start("a", "A", work) for _ in range(2))
    assert first is second
    assert first.running
    assert first.result is None
    gate.set()
    assert first.wait(LONG)
    assert first.result == 7
    assert jobs.start("a", "A", work) is first
    assert calls == ["a"]


def test_a_failure_is_raised_where_the_result_is_asked_for_and_can_be_retried() -> None:
    jobs = Jobs(workers=1, most=10)

    def fail(job: Job) -> None:
        raise ValueError("no")

    job = jobs.start("a", "A", fail)
    assert job.wait(LONG)
    with pytest.raises(ValueError, match="no"):
        _ = job.result
    jobs.forget("a")
    again = jobs.start("a", "A", lambda _: 1)
    assert again.wait(LONG)
    assert again.result == 1


def test_a_job_that_the_last_session_leaves_is_stopped() -> None:
    jobs, gate = Jobs(workers=2, most=10), threading.Event()
    job = jobs.start("a", "A", gated(gate))
    jobs.claim("one", "study", "a")
    jobs.claim("two", "study", "a")
    jobs.claim("one", "study", "b")
    assert not job.wait(0.05)
    jobs.claim("two", "study", None)
    assert job.wait(LONG)
    assert job.stopped
    assert job.result is None
    assert jobs.start("a", "A", lambda _: 1) is not job


def test_a_job_that_waits_for_its_turn_is_cancelled() -> None:
    jobs, gate = Jobs(workers=1, most=10), threading.Event()
    running = jobs.start("a", "A", gated(gate))
    waiting = jobs.start("b", "B", gated(gate))
    jobs.claim("one", "study", "b")
    jobs.claim("one", "study", "a")
    assert waiting.stopped
    gate.set()
    assert running.wait(LONG)
    assert running.result == "done"


def test_results_are_forgotten_by_size_oldest_first() -> None:
    jobs = Jobs(workers=1, most=10, size=len)
    started = {}
    for key, size in {"a": 4, "b": 5, "c": 4}.items():
        started[key] = jobs.start(key, key, lambda _, size=size: "x" * size)
        assert started[key].wait(LONG)
    jobs.start("d", "d", lambda _: "").wait(LONG)
    assert jobs.start("b", "b", lambda _: "") is started["b"]
    assert jobs.start("a", "a", lambda _: "") is not started["a"]


def test_shelf_keeps_what_was_used_last() -> None:
    shelf: Shelf[str] = Shelf(10)
    shelf.put("a", "A", 4)
    shelf.put("b", "B", 5)
    assert shelf.get("a") == "A"
    shelf.put("c", "C", 4)
    assert shelf.get("b") is None
    assert shelf.get("a") == "A"
    shelf.put("huge", "H", 99)
    assert shelf.get("huge") == "H"
    assert shelf.get("c") is None


def test_what_a_closed_page_waited_for_is_given_up() -> None:
    jobs, gate = Jobs(workers=2, most=10), threading.Event()
    alone, shared = (jobs.start(key, key, gated(gate)) for key in ("alone", "shared"))
    jobs.claim("closed", "depth", "alone")
    jobs.claim("closed", "card", "shared")
    jobs.claim("open", "card", "shared")
    jobs.release(lambda session: session == "closed")
    assert alone.wait(LONG)
    assert alone.stopped
    assert shared.running
    gate.set()
    assert shared.wait(LONG)
    assert shared.result == "done"
