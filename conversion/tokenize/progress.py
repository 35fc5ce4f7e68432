"""Show on a terminal how far the reading of texts has come."""

from __future__ import annotations

import time
from typing import TextIO

from conversion.reports.progress import Line, bar
from conversion.tokenize.text_files import Reader


class Progress:
    """A line that shows how much of the texts was read, and how fast.

    Args:
        terminal: Where to show it; None shows nothing.
        reader: The reader of the texts, which knows how much it has read.
        start: When work began, by `time.perf_counter`.
    """

    def __init__(self, terminal: TextIO | None, reader: Reader, start: float) -> None:
        self._line = Line(terminal)
        self._reader = reader
        self._start = start

    def show(self, lines: int) -> None:
        """Update the line, unless the last update was just before."""
        if not self._line.is_due():
            return
        passed = max(time.perf_counter() - self._start, 1e-9)
        text = f"{lines:,} lines, {lines / passed:,.0f} lines/s"
        done, total = self._reader.done, self._reader.total
        if done is not None and total:
            text = f"{bar(min(done / total, 1.0))} of {total / 1e6:,.1f} MB, {text}"
        self._line.write(text)

    def clear(self) -> None:
        """Remove the line."""
        self._line.clear()
