"""What importing a family costs over importing its framework, in fresh processes.

    python benchmarks/import_time.py [ROUNDS]

Each round starts every process once, in turn, so that a busy machine touches all alike; medians
of the rounds are printed. Bars: xlm_torch 0.2 s over torch, xlm_tf 0.3 s over keras with
TensorFlow.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

PAIRS = {
    "xlm_torch": ("import torch", "import torch, xlm_torch", 0.2),
    "xlm_tf": ("import keras, tensorflow", "import keras, tensorflow, xlm_tf", 0.3),
}


def seconds(statement: str) -> float:
    """The time that a new process takes to run one statement."""
    start = time.perf_counter()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", statement], check=True, env=environment, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each family."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PAIRS}
    for number in range(rounds + 1):
        for name, (alone, with_family, _) in PAIRS.items():
            pair = (seconds(alone), seconds(with_family))
            if number:  # the first round fills the file cache
                found[name].append(pair)
    for name, (alone, _, bar) in PAIRS.items():
        base = statistics.median(a for a, _ in found[name])
        cost = statistics.median(b - a for a, b in found[name])
        print(f"{name}: {cost:.2f} s over '{alone}' ({base:.2f} s); bar {bar} s, {rounds} rounds")


if __name__ == "__main__":
    main()
