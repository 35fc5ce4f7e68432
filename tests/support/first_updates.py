"""The first updates of a fresh process, of a model of real size: the bits of what comes out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.training_corpora import MASKED_TASKS, ROOT

# Six layers of 1024 in float32, with dropout: large enough for each operation to be shared by
# threads.
CONFIG = {
    "emb_dim": 1024,
    "n_layers": 6,
    "n_heads": 8,
    "vocab_size": 20_000,
    "max_position_embeddings": 256,
    "dropout": 0.1,
    "attention_dropout": 0.1,
}
SETTINGS = {"batch_size": 4, "bptt": 96, "max_len": 60, "parts": 1}
UPDATES, THREADS = 2, 2


def of_fresh_processes(framework: str, folder: Path, *, number: int) -> list[dict[str, Any]]:
    """What `main` prints in so many processes, one after the other.

    Args:
        framework: "torch" or "tf".
        folder: With corpora.
        number: How many processes.
    """
    threads = {"OMP_NUM_THREADS": str(THREADS), "TF_NUM_INTRAOP_THREADS": str(THREADS)}
    found = []
    for _ in range(number):
        process = subprocess.run(
            [sys.executable, "-m", __name__, framework, str(folder)],
            cwd=ROOT,
            env={**os.environ, **threads},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(json.loads(process.stdout.splitlines()[-1]))
    return found


def main(framework: str, folder: Path) -> None:
    """Make the updates, and print their losses, the gradients' norms and a digest of weights."""
    if framework == "torch":
        import torch

        from tests.support import training_runs

        assert torch.get_num_threads() == THREADS
        run: Any = training_runs.small_run(
            folder, tasks=MASKED_TASKS, config=CONFIG, settings=SETTINGS, dtype=torch.float32
        )
        updates = list(run.updates(UPDATES))
        weights: dict[str, np.ndarray[Any, Any]] = {
            name: x.numpy() for name, x in training_runs.weights(run).items()
        }
    else:
        import tensorflow as tf

        from tests.support import tf_training_runs

        tf.config.experimental.enable_op_determinism()
        run = tf_training_runs.small_run(
            folder, tasks=MASKED_TASKS, config=CONFIG, settings=SETTINGS, dtype="float32"
        )
        updates = list(run.updates(UPDATES))
        weights = tf_training_runs.weights(run)
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].tobytes())
    figures = [[update.losses, update.gradient_norm] for update in updates]
    print(json.dumps({"updates": figures, "weights": digest.hexdigest()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
