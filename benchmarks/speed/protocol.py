"""How the driver and a worker talk: one JSON object a line, each answered by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np


class Absent(Exception):  # noqa: N818  (no error: a row says so and goes on)
    """What a row asks for does not exist here; the text says what."""


@dataclass
class Prepared:
    """A task that is ready to run.

    Attributes:
        run: Does it once, to the end; what a dictionary says goes to the driver as it is.
        output: Does it once more, for comparison; None: there is nothing to compare.
        warm: Whether `output` does not warm up what `run` does.
    """

    run: Callable[[], Any]
    output: Callable[[], np.ndarray] | None = None
    warm: bool = False


class Side:
    """A library, in a worker.

    Args:
        library: Which, where a file serves several.
        folder: The weights; absent for what needs none.
    """

    def __init__(self, library: str, folder: Path) -> None:
        self.library = library
        self.folder = folder

    def version(self) -> str:
        """Of the library, as reports print it."""
        raise NotImplementedError

    def prepare(self, task: Any, options: dict[str, Any]) -> Prepared:
        """Open the weights, make the batch and whatever else is not timed."""
        raise NotImplementedError

    def forget(self, kinds: Collection[str]) -> None:
        """Drop what was prepared; models as they were opened may stay, if these tasks need them."""


def send(stream: IO[str], message: dict[str, Any]) -> None:
    """Write one message."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def memory_mb(name: str = "VmHWM") -> float:
    """A field of this process's memory: VmHWM, the peak, or VmRSS; 0 where the system has none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [line for line in lines if line.startswith(name + ":")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def reset_peak() -> None:
    """Let VmHWM begin anew, at what is in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
