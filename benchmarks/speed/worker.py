"""A worker process: prepares tasks with one library, runs them when told to, and times them.

    python -m benchmarks.speed.worker SIDE LIBRARY FOLDER

Requests are {"do": ...}: "prepare" (name, task, options), "output" (name, path, warm), "run"
(name), "forget" (kinds). An answer holds "absent" or "failed" where there is nothing to measure.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.protocol import Absent, Prepared, Side, memory_mb, reset_peak, send
from benchmarks.speed.tasks import Task


class Worker:
    """Answers requests for one library."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.prepared: dict[str, Prepared] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says; whatever a library raises is an answer, too."""
        try:
            result: dict[str, Any] = getattr(self, "do_" + request["do"])(request)
        except Absent as reason:
            return {"absent": str(reason)}
        except Exception as error:  # noqa: BLE001  (a library's failure is a result)
            traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        return result

    def do_prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a task ready."""
        task = Task.from_json(request["task"])
        self.prepared[request["name"]] = self.side.prepare(task, request["options"])
        return {"version": self.side.version()}

    def do_output(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write what comes out, and run once if that did not warm up; the peak of both."""
        prepared = self.prepared[request["name"]]
        gc.collect()
        reset_peak()
        if prepared.output is not None:
            np.save(request["path"], prepared.output())
        if request["warm"] and (prepared.output is None or prepared.warm):
            prepared.run()
        return {"peak_mb": memory_mb(), "compared": prepared.output is not None}

    def do_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run once: the seconds it took."""
        run = self.prepared[request["name"]].run
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        return {"seconds": seconds} | (result if isinstance(result, dict) else {})

    def do_forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Drop what was prepared, and give its memory back to the system."""
        self.prepared.clear()
        self.side.forget(request["kinds"])
        gc.collect()
        if sys.platform == "linux":  # where the C library keeps what was freed
            ctypes.CDLL(None).malloc_trim(0)
        return {}


def main() -> None:
    """Answer until the driver closes the pipe."""
    # Libraries print to stdout; answers go where stdout went, and prints to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, library, folder = sys.argv[1:4]
    try:
        side_class = importlib.import_module(f"benchmarks.speed.sides.{module}").SIDE
        side = side_class(library, Path(folder))
    except ImportError as error:
        send(answers, {"absent": str(error)})
        return
    worker = Worker(side)
    send(answers, {"version": side.version()})
    for line in sys.stdin:
        send(answers, worker.answer(json.loads(line)))


if __name__ == "__main__":
    main()
