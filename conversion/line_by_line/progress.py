"""Show on a terminal how far the reading of texts has come."""

from __future__ import annotations

import time
from typing import TextIO

from conversion.line_by_line.text_files import Reader
from conversion.reports.progress import Line, bar


class Progress:
    """A line that shows how much of the texts was read, and how fast.

    Args:
        terminal: Where to show it; None shows nothing.
        reader: The reader of the texts, which knows how much it has read.
        start: When work began, by `time.perf_counter`.
        before: Number of lines that an earlier run has done.
    """

    def __init__(
        self, terminal: TextIO | None, reader: Reader, start: float, *, before: int = 0
    ) -> None:
        self._line = Line(terminal)
        self._reader = reader
        self._start = start
        self._before = before
        self._window = 0

    def window_ends(self) -> None:
        """All that was read is done."""
        self._window = self._reader.done or 0

    def show(self, lines: int, *, of_window: float = 1.0) -> None:
        """Update the line, unless the last update was just before.

        Args:
            lines: Number of lines that are done.
            of_window: Share that is done of what was read since the last `window_ends`.
        """
        if not self._line.is_due():
            return
        passed = max(time.perf_counter() - self._start, 1e-9)
        text = f"{lines:,} lines, {self._rate(lines, passed)} lines/s"
        done, total = self._reader.done, self._reader.total
        if done is not None and total:
            reached = self._window + (done - self._window) * of_window
            text = f"{bar(min(reached / total, 1.0))} of {total / 1e6:,.1f} MB, {text}"
        self._line.write(text)

    def _rate(self, lines: int, passed: float) -> str:
        rate = (lines - self._before) / passed
        return f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}"

    def clear(self) -> None:
        """Remove the line."""
        self._line.clear()
