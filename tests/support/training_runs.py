"""Small training runs in PyTorch: of a test, and of the processes that a test starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from tests.support.training_corpora import (
    ALL_TASKS,
    MASKED_TASKS,
    ROOT,
    InterruptedOnce,
    small_batches,
    small_config,
    write_corpora,
)
from xlm_core.objectives import Task
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.optimizers import OriginalAdam
from xlm_torch.training import TrainingRun

__all__ = [
    "ALL_TASKS",
    "MASKED_TASKS",
    "InterruptedOnce",
    "run_ranks",
    "small_batches",
    "small_config",
    "small_run",
    "weights",
    "write_corpora",
]


def small_run(
    folder: Path,
    *,
    tasks: tuple[Task, ...] = ALL_TASKS,
    config: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    optimizer: Any = OriginalAdam,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> TrainingRun:
    """A run over the corpora in `folder`: equal ones are made by equal calls."""
    torch.manual_seed(1)
    translates = any(task.objective == "mt" for task in tasks)
    kind = XLMForConditionalGeneration if translates else XLMWithLMHeadModel
    made = small_config(causal=tasks[0].objective == "clm", **(config or {}))
    model: Any = kind(made).to(dtype)
    batches = small_batches(folder, made, tasks, **(settings or {}))
    options = {"learning_rate": InverseSquareRoot(1e-2, 5), "clip_grad_norm": 1.0, **options}
    return TrainingRun(model, batches, optimizer(model.parameters(), lr=1e-3), **options)


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    """All of them, whole."""
    return {name: x.clone() for name, x in run._weights().items()}


def run_ranks(module: str, *arguments: str, ranks: int = 2, timeout: float = 540) -> None:
    """Run a module on several processes, and end them all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    started: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        outputs: list[Any] = [stack.enter_context(TemporaryFile()) for _ in range(ranks)]
        try:
            for rank, output in enumerate(outputs):
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=ROOT,
                    env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                started.append(process)
            end = time.monotonic() + timeout
            # One that fails leaves the others waiting.
            while None in (codes := [process.poll() for process in started]):
                if any(codes) or time.monotonic() > end:
                    break
                time.sleep(0.05)
        finally:
            for process in started:
                process.kill()
                process.wait()
        for output, code in zip(outputs, codes, strict=True):
            output.seek(0)
            assert code == 0, f"{codes}: {output.read().decode()[-4000:]}"
