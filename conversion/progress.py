"""How far the work has come, on a terminal."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from conversion.text_files import Reader


class Progress:
    """One line on a terminal that is written anew as work goes on.

    Args:
        terminal: Where; None for nowhere.
        reader: Knows how much was read.
        start: When work began, of `time.perf_counter`.
    """

    _SECONDS = 0.2  # between two times
    _WIDTH = 20  # of the bar

    def __init__(self, terminal: TextIO | None, reader: Reader, start: float) -> None:
        self._terminal = terminal
        self._reader = reader
        self._start = start
        self._last = 0.0
        self._shown = 0

    def show(self, lines: int) -> None:
        """Write the line, unless that was done just before."""
        now = time.perf_counter()
        if self._terminal is None or now - self._last < self._SECONDS:
            return
        self._last = now
        text = f"{lines:,} lines, {lines / max(now - self._start, 1e-9):,.0f} lines/s"
        done, total = self._reader.done, self._reader.total
        if done is not None and total:
            share = min(done / total, 1.0)
            bar = ("#" * round(self._WIDTH * share)).ljust(self._WIDTH, "-")
            text = f"[{bar}] {100 * share:3.0f} % of {total / 1e6:,.1f} MB, {text}"
        text = text[: shutil.get_terminal_size().columns - 1]
        self._write(text)
        self._shown = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("")
            self._shown = 0

    def _write(self, text: str) -> None:
        assert self._terminal is not None
        blanks = " " * (self._shown - len(text))
        self._terminal.write(f"\r{text}{blanks}" + ("" if text else "\r"))
        self._terminal.flush()
