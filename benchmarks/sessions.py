"""Eight browser sessions at once on one server: does each get what it asks for, and in what memory?

    python benchmarks/sessions.py [--sessions N] [--rounds N]

Each session opens pictures and clicks heads on its own, all at the same time, on one checkpoint.
For every picture the seconds until maps and numbers are there are taken, beside those of one
session alone. Work on one network goes through one lock, so a session may wait for those before it
in the queue, not for more.

The bound on the server's memory. What the server keeps is bounded in `app/services.py`, for all
sessions together: attention maps (`MAP_BYTES`), uploads (`UPLOAD_BYTES`), opened studies
(`STUDY_BYTES` in `app/opened.py`), and three checkpoints, of which this benchmark loads one. A
session itself holds its widgets' state and the last payloads, `SESSION_BYTES` at most. So

    peak ≤ one session's peak + MAP_BYTES + UPLOAD_BYTES + STUDY_BYTES + sessions × SESSION_BYTES

whatever is looked at, and the benchmark fails where that does not hold. Here only scenes of the
demo are opened, whose maps have 0.5 MB each, so a tighter bound must hold, too: 100 MB above one
session and 25 MB more for each further one.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import sync_playwright

from headscope.app import opened, running, services

PICTURES = ("scene-0", "scene-8", "scene-9", "scene-14", "scene-16", "scene-21", "coffee", "rocket")
SESSION_BYTES = 25_000_000
"""Of one more session: its elements, its widgets' state, the payloads on their way."""
SPARE_BYTES = 100_000_000
"""What eight sessions on small pictures may add to what one needs, without themselves."""


@dataclass
class Told:
    """What one session saw."""

    waits: list[float] = field(default_factory=list)
    """Seconds until maps and numbers of a picture were there."""
    errors: list[str] = field(default_factory=list)


def work(address: str, chrome: str, rounds: int, first: int, told: Told) -> None:
    """One person: another picture, a few heads, the next picture."""
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chrome, args=list(running.BROWSER_OPTIONS)
            )
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_init_script(running.NO_TOUR)
            page = context.new_page()
            page.set_default_timeout(600_000)
            page.on("pageerror", lambda error: told.errors.append(str(error)))
            page.on(
                "console",
                lambda said: told.errors.append(said.text) if said.type == "error" else None,
            )
            page.goto(f"{address}/?image={PICTURES[first % len(PICTURES)]}")
            page.wait_for_selector('.hs-root[data-state="complete"]')
            for step in range(1, rounds + 1):
                name = PICTURES[(first + step) % len(PICTURES)]
                asked = time.perf_counter()
                page.click(f'.hs-gallery [data-key="{name}"]')
                page.wait_for_selector(f'.hs-root[data-state="complete"][data-image="{name}"]')
                told.waits.append(time.perf_counter() - asked)
                for layer, head in ((step % 6, first % 4), ((step + 3) % 6, (first + 1) % 4)):
                    page.click(f'.hs-cell[data-layer="{layer}"][data-head="{head}"]')
                    page.wait_for_selector(f'.hs-root[data-layer="{layer}"][data-head="{head}"]')
            if page.locator('[data-testid="stAlert"], [data-testid="stException"]').count():
                told.errors.append(page.locator('[data-testid="stAlert"]').first.inner_text())
            browser.close()
    except Exception as error:
        told.errors.append(f"{type(error).__name__}: {error}")


def together(address: str, chrome: str, sessions: int, rounds: int) -> list[Told]:
    """Sessions side by side, each with a thread and a browser of its own."""
    told = [Told() for _ in range(sessions)]
    threads = [
        threading.Thread(target=work, args=(address, chrome, rounds, i, told[i]))
        for i in range(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def peak(port: str) -> int:
    """The largest resident memory that the server had, in bytes (Linux)."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"--port\0{port}\0".encode() in (status.parent / "cmdline").read_bytes() + b"\0":
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                return int(lines["VmHWM"].split()[0]) * 1024
        except OSError:  # it ended meanwhile
            continue
    raise RuntimeError(f"there is no server on port {port}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    chrome = running.find_browser()
    if chrome is None:
        sys.exit(running.NO_BROWSER)
    with running.serving() as address:
        port = address.rpartition(":")[2]
        alone = together(address, chrome, 1, options.rounds)[0]
        of_one = peak(port)
    with running.serving() as address:
        port = address.rpartition(":")[2]
        told = together(address, chrome, options.sessions, options.rounds)
        of_all = peak(port)
    errors = [error for each in (alone, *told) for error in each.errors]
    waits = sorted(wait for each in told for wait in each.waits)
    further = (options.sessions - 1) * SESSION_BYTES
    bound = of_one + further
    bound += services.MAP_BYTES + services.UPLOAD_BYTES + opened.STUDY_BYTES
    tight = of_one + SPARE_BYTES + further
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {options.sessions} sessions")
    if alone.waits and waits:
        print(
            f"picture → maps and numbers: alone median {statistics.median(alone.waits):.2f} s, "
            f"longest {max(alone.waits):.2f} s; together median {statistics.median(waits):.2f} s, "
            f"longest {waits[-1]:.2f} s ({waits[-1] / max(alone.waits):.1f} × alone)"
        )
    print(
        f"server's peak memory: {of_one / 1e6:.0f} MB for one session, {of_all / 1e6:.0f} MB for "
        f"{options.sessions}; bound {bound / 1e6:.0f} MB, for these pictures {tight / 1e6:.0f} MB"
    )
    for error in errors:
        print(f"error: {error}")
    if errors or of_all > min(bound, tight):
        sys.exit("a session failed" if errors else "more memory than the bound")
    print("none failed, and the memory is within the bound")


if __name__ == "__main__":
    main()
