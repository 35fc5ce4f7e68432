"""A run that is asked to stop saves first."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# torchrun passes on what it is sent, which a scheduler sends to every process too.
_LAUNCHER, _SECONDS_OF_ONE = "TORCHELASTIC_RUN_ID", 5.0


class StopSignals:
    """Within its block, the first SIGINT or SIGTERM is noted, and the second one ends at once.

    Under torchrun, those that follow the first within 5 seconds are the same one, passed on.

    Calling it says whether there was one. In other threads than the main one signals cannot be
    noted; they then do what they did.
    """

    def __init__(self) -> None:
        self._came: float | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether the process was asked to stop."""
        return self._came is not None

    def __enter__(self) -> StopSignals:
        try:
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        except ValueError:  # not the main thread
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came is None:
            self._came = now
        elif _LAUNCHER not in os.environ or now - self._came > _SECONDS_OF_ONE:
            raise KeyboardInterrupt
