"""Progress of a command on stderr: a bar in a terminal, else a line now and then."""

import shutil
import sys
import time
from types import TracebackType

from tqdm import tqdm

EVERY_SECONDS = 15.0
"""Between two lines where there is no terminal."""


class Bar:
    """A bar from 0 to `total`, in percent if there is no unit; gone after its `with` block."""

    def __init__(self, *, total: float, unit: str = "") -> None:
        self._total, self._unit = total, unit
        self._shown = time.monotonic()
        self._started = False
        self._bar = None
        if sys.stderr.isatty():
            # Where the size is not known, tqdm's own guess is 0: it would show nothing.
            size = shutil.get_terminal_size()
            self._bar = tqdm(
                total=total,
                leave=False,
                ncols=size.columns,
                nrows=size.lines,
                bar_format="{percentage:3.0f} %|{bar}| "
                + ("{n:.1f}/{total:g} " + unit if unit else "")
                + " [{elapsed}<{remaining}] {desc}",
            )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: float, text: str) -> None:
        """Move to `done` and say what is under way."""
        if self._bar is not None:
            if not self._started:  # what was there already says nothing of the speed
                self._bar.initial = self._bar.n = done
                self._started = True
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._shown >= EVERY_SECONDS:
            self._shown = time.monotonic()
            part = f"{done:.1f} of {self._total:g} {self._unit}"
            share = f"{100 * done / self._total:.0f} %"
            print(f"{part if self._unit else share}: {text}", file=sys.stderr, flush=True)
