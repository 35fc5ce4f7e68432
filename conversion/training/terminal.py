"""What a run shows while it runs: its lines, and below them a bar."""

from __future__ import annotations

from typing import TextIO

from conversion.reports.progress import Line, bar
from conversion.training.machine import operations_of
from xlm_core.config import XLMConfig
from xlm_core.training.config import DurationSettings
from xlm_core.training.events import Event, Failed, Updated
from xlm_core.training.logs import line_of


class Shown:
    """Listens to a run and shows it.

    Args:
        stream: Gets the lines; None: nothing is shown.
        duration: Of the run.
        model_config: Of the model, whose operations are counted.
        fastest: Operations a second that the machine could do, of all ranks; 0: not known.
    """

    def __init__(
        self,
        stream: TextIO | None,
        duration: DurationSettings,
        model_config: XLMConfig,
        fastest: float = 0.0,
    ) -> None:
        self._stream, self._duration = stream, duration
        self._config, self._fastest = model_config, fastest
        self._line = Line(stream if stream is not None and stream.isatty() else None)
        self._tokens = self._seconds = self._operations = 0.0
        self._losses: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        if isinstance(event, Updated):
            self._add(event)
        # An error is told by the command itself.
        elif not isinstance(event, Failed) and (line := line_of(event)) is not None:
            self.write(line)

    def write(self, line: str) -> None:
        """Show a line."""
        if self._stream is None:
            return
        try:
            self._line.clear()
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError:  # nobody reads any more, which is no reason to stop training
            self._stream, self._line = None, Line(None)

    def _add(self, event: Updated) -> None:
        if not self._line.is_shown:
            return
        self._tokens += event.update.tokens
        self._seconds += event.seconds
        self._operations += operations_of(event.update, self._config)
        self._losses |= event.update.losses
        if not self._line.is_due():
            return
        whole = self._duration.updates or self._duration.tokens or 0
        unit = "tokens" if self._duration.updates is None else "updates"
        parts = [
            f"{bar(event.share)} of {whole:,} {unit}",
            f"{self._tokens / self._seconds:,.0f} tokens/s",
        ]
        if self._fastest:
            share = self._operations / self._seconds / self._fastest
            parts.append(f"{100 * share:.0f} % of the fastest products")
        parts += [f"{name} {loss:.2f}" for name, loss in self._losses.items()]
        self._line.write(", ".join(parts))
        self._tokens = self._seconds = self._operations = 0.0

    def close(self) -> None:
        """Remove the bar."""
        self._line.clear()
