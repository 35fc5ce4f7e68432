"""How far the reading of texts has come, on a terminal."""

from __future__ import annotations

import time
from typing import TextIO

from conversion.reports.progress import Line, bar
from conversion.tokenize.text_files import Reader


class Progress:
    """A line that says how far a file was read, and how fast.

    Args:
        terminal: Where; None for nowhere.
        reader: Knows how much was read.
        start: When work began, of `time.perf_counter`.
    """

    def __init__(self, terminal: TextIO | None, reader: Reader, start: float) -> None:
        self._line = Line(terminal)
        self._reader = reader
        self._start = start

    def show(self, lines: int) -> None:
        """Write the line, unless that was done just before."""
        if not self._line.is_due():
            return
        passed = max(time.perf_counter() - self._start, 1e-9)
        text = f"{lines:,} lines, {lines / passed:,.0f} lines/s"
        done, total = self._reader.done, self._reader.total
        if done is not None and total:
            text = f"{bar(min(done / total, 1.0))} of {total / 1e6:,.1f} MB, {text}"
        self._line.write(text)

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()
