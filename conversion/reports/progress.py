"""Show on a terminal how far the work has come."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TextIO

_SECONDS = 0.2  # between two updates
_WIDTH = 20  # of a bar


class Line:
    """A line on a terminal that is overwritten.

    Without a terminal nothing is shown, nor once it went away: the work goes on.
    """

    def __init__(self, terminal: TextIO | None) -> None:
        self._terminal = terminal
        self._last = 0.0
        self._shown = 0

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal."""
        return self._terminal is not None

    def is_due(self) -> bool:
        """Whether there is a terminal, and the last update is some time ago."""
        return self.is_shown and time.perf_counter() - self._last >= _SECONDS

    def write(self, text: str) -> None:
        """Replace the line."""
        assert self._terminal is not None
        self._last = time.perf_counter()
        text = text[: shutil.get_terminal_size().columns - 1]
        blanks = " " * (self._shown - len(text))
        try:
            self._terminal.write(f"\r{text}{blanks}" + ("" if text else "\r"))
            self._terminal.flush()
        except OSError:
            self._terminal, self._shown = None, 0
            return
        self._shown = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            self.write("")


class ByteProgress:
    """A progress bar for work that is counted in bytes; threads may share it.

    Args:
        terminal: Where to show it; None shows nothing.
    """

    def __init__(self, terminal: TextIO | None) -> None:
        self._line = Line(terminal)
        self._lock = threading.Lock()
        self._what, self._done, self._total, self._start = "", 0, 0, 0.0

    def begin(self, what: str, total: int) -> None:
        """Start a piece of work of `total` bytes."""
        self._what, self._done, self._total = what, 0, total
        self._start = time.perf_counter()

    def add(self, count: int) -> None:
        """Report that `count` more bytes are done."""
        with self._lock:
            self._done += count
            if self._line.is_due():
                share = min(self._done / self._total, 1.0) if self._total else 1.0
                rate = self._done / max(time.perf_counter() - self._start, 1e-9)
                size = f"{self._total / 1e6:,.1f} MB, {rate / 1e6:,.0f} MB/s"
                self._line.write(f"{self._what} {bar(share)} of {size}")

    def say(self, what: str) -> None:
        """Show what is being done, for work that is not counted."""
        with self._lock:
            if self._line.is_shown:
                self._line.write(what)

    def end(self) -> None:
        """Remove the bar."""
        self._line.clear()


def bar(share: float) -> str:
    """Draw a bar for a share in [0, 1], followed by the share in percent."""
    return f"[{('#' * round(_WIDTH * share)).ljust(_WIDTH, '-')}] {100 * share:3.0f} %"
