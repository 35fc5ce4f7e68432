"""A run that saves after every update, is killed at any moment, and goes on where it was."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.training_corpora import MASKED_TASKS, ROOT, write_corpora
from xlm_core.checkpoints import open_checkpoint
from xlm_core.training.saved import MODEL, read_run

CONFIG = {"dropout": 0.2, "attention_dropout": 0.1, "emb_dim": 64, "vocab_size": 4000}
SAVED = "saved"


def killed_and_resumed(
    framework: str, folder: Path, *, kills: int, environment: Mapping[str, str], ends_here: bool
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """Kill a run so many times at random moments, and let it make three more updates.

    Whatever is there after a kill has to be whole, and the run has to have gone on.

    Args:
        framework: "torch" or "tf".
        folder: An empty one.
        kills: How many.
        environment: Of the processes, beside that of this one.
        ends_here: Whether this process makes the last updates and the other run, to save time.

    Returns:
        What it left, and what a run left that nobody killed.
    """
    draw = random.Random(5)
    write_corpora(folder)
    for _ in range(kills):
        with _started(framework, folder, 10_000, environment) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                before = _update(folder)
                while _update(folder) <= before and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(draw.uniform(0.0, 0.3))  # mostly while a checkpoint is written
            finally:
                process.kill()
        assert process.returncode == -9
        assert read_run(folder / SAVED).state["update"] > before
        assert left_by(folder)
    end = _update(folder) + 3
    alone = folder / "alone"
    write_corpora(alone)
    for each in (folder, alone):
        if ends_here:
            main(framework, each, end)
        else:
            with _started(framework, each, end, environment) as process:
                process.communicate()
            assert process.returncode == 0
        assert _update(each) == end
    return left_by(folder), left_by(alone)


def left_by(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The weights, the optimizer's state and that of random numbers in a run's checkpoint."""
    saved = folder / SAVED
    tensors = {**read_run(saved).tensors, **open_checkpoint(saved / MODEL).tensors}
    return {name: tensor.read() for name, tensor in tensors.items()}


def _started(
    framework: str, folder: Path, until: int, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, framework, str(folder), str(until)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def _update(folder: Path) -> int:
    try:
        return int(json.loads((folder / SAVED / "training.json").read_text())["update"])
    except FileNotFoundError:  # there is none, or another takes its place this moment
        return 0


def main(framework: str, folder: Path, until: int) -> None:
    """Go on from the last checkpoint, if there is one, to update `until`."""
    if framework == "torch":
        import torch

        from tests.support import training_runs

        options: dict[str, Any] = {"dtype": torch.float32}
        small_run: Any = training_runs.small_run
    else:
        import tensorflow as tf

        from tests.support import tf_training_runs

        tf.config.experimental.enable_op_determinism()
        options, small_run = {"dtype": "float32"}, tf_training_runs.small_run
    run = small_run(folder, tasks=MASKED_TASKS, config=CONFIG, **options)
    saved = folder / SAVED
    if saved.exists():
        run.resume(saved)
    print("ready", flush=True)
    for _ in run.updates(until):
        run.save(saved)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
