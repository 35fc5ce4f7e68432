"""A run that saves after every update, is killed at any moment, and goes on where it was."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.training_runs import MASKED_TASKS, small_run
from xlm_core.whole_files import folder_written_whole


def main(folder: Path, until: int) -> None:
    """Go on from the last checkpoint, if there is one, to update `until`."""
    config = {"dropout": 0.2, "attention_dropout": 0.1, "emb_dim": 64, "vocab_size": 4000}
    run = small_run(folder, tasks=MASKED_TASKS, config=config)
    saved = folder / "saved"
    if saved.exists():
        run.resume(saved)
    print("ready", flush=True)
    for _ in run.updates(until):
        run.save(saved)
    with folder_written_whole(folder / "end") as temporary:
        run.save_model(temporary)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
