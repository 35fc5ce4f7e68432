"""A worker: one side of one checkout, which goes before the one that this file lies in.

python -m benchmarks.two_checkouts.worker CHECKOUT SIDE PACKAGE FOLDER NAME
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

# From here, and not from the checkout: what measures is the same on both sides.
from benchmarks.speed import tasks, worker
from benchmarks.speed.protocol import send
from benchmarks.two_checkouts.clock import Clock
from benchmarks.two_checkouts.sides import core_side


class Worker(worker.Worker):
    """Times several runs, on the wall and on the processors."""

    def do_prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a task ready."""
        if isinstance(self.side, core_side.CoreSide):
            task: Any = core_side.CoreTask.from_json(request["task"])
        else:
            task = tasks.Task.from_json(request["task"])
        self.prepared[request["name"]] = self.side.prepare(task, request["options"])
        return {"version": self.side.version()}

    def do_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a few times: seconds of all together; of a run that has a clock, by that."""
        run, times = self.prepared[request["name"]].run, request.get("times", 1)
        clock, own = Clock(), Counter[str]()
        for _ in range(times):
            result = run()
            if isinstance(result, dict) and "seconds" in result:
                own.update(result)
        found = dict(own) if own else clock.read()
        result = None
        gc.collect()  # Keras' models hold themselves, and would pile up from round to round
        return found


def main() -> None:
    """Answer until the driver closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    checkout, module, package, folder, name = sys.argv[1:]
    module_of_side = importlib.import_module(f"benchmarks.two_checkouts.sides.{module}")
    sys.path.insert(0, str(Path(checkout).resolve()))
    loaded = importlib.import_module("xlm_core")
    if Path(checkout).resolve() not in Path(str(loaded.__file__)).resolve().parents:
        send(answers, {"absent": f"{loaded.__file__} is not in {checkout}"})
        return
    library = package if package != "core" else name
    try:
        side = module_of_side.SIDE(library, Path(folder))
    except ImportError as error:
        send(answers, {"absent": str(error)})
        return
    served = Worker(side)
    send(answers, {"version": side.version()})
    for line in sys.stdin:
        send(answers, served.answer(json.loads(line)))


if __name__ == "__main__":
    main()
