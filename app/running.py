"""The app in a process of its own, and a browser for it: for tests, benchmarks and pictures."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_BROWSER = "there is no Chrome or Chromium: apt install chromium brings one"
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A headless Chromium that works in a container and talks to nobody but the page."""
NO_TOUR = 'localStorage.setItem("headscope.tour", "seen")'
"""What a page's script says before all others, where no tour is to lie over it."""
PATIENCE = 60.0
"""Seconds that a server may take to start on a slow machine."""


def find_browser() -> str | None:
    """Path of a Chrome or Chromium."""
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(*arguments: str, prepare: str = "", port: int | None = None) -> Iterator[str]:
    """The address of `headscope app`, by default on a free port, until the block ends.

    `prepare` is Python that the new process runs first.

    Raises:
        RuntimeError: it did not start; with what it said.
    """
    port = free_port() if port is None else port
    main = "import sys; from headscope.app.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{prepare}\n{main}",
            "app",
            "--no-browser",
            "--port",
            str(port),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"the app did not start: {process.communicate()[0]}")
            time.sleep(0.05)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False
