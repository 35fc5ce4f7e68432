"""Time on the wall, and on the processors."""

from __future__ import annotations

import time


class Clock:
    """Begins to run when made."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds since then, as a worker's answer has them; `cpu` of all threads."""
        wall, cpu = self.start
        return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
