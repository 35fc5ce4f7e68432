"""A run that is asked to stop saves first."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

# A terminal that is closed, as by a lost connection, sends SIGHUP; Windows has none.
_HANGUP = getattr(signal, "SIGHUP", None)
_SIGNALS = tuple(x for x in (signal.SIGINT, signal.SIGTERM, _HANGUP) if x is not None)
# torchrun passes on what it is sent, which a scheduler sends to every process too.
_LAUNCHER, _SECONDS_OF_ONE = "TORCHELASTIC_RUN_ID", 5.0


class StopSignals:
    """Within its block, the first SIGINT, SIGTERM or SIGHUP is noted, and the second ends at once.

    Under torchrun, those that follow the first within 5 seconds are the same one, passed on. No
    SIGHUP is a second one: a shell and the system both send it. Where it is ignored, as by nohup,
    it stays ignored.

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
                if number != _HANGUP or signal.getsignal(number) is not signal.SIG_IGN:
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
        elif number != _HANGUP and (
            _LAUNCHER not in os.environ or now - self._came > _SECONDS_OF_ONE
        ):
            raise KeyboardInterrupt
