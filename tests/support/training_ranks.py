"""What each of several processes does in the tests of training: copies, then shards of a model."""

from __future__ import annotations

import faulthandler
import sys
import warnings
from pathlib import Path

import torch

from tests.support.training_runs import small_run, weights
from xlm_torch.training.run import TrainingRun


def main(folder: Path) -> None:
    """Train, save and resume in each way; the main process keeps the weights."""
    for parallel in ("ddp", "fsdp"):
        run = _run(folder, parallel)
        # MLM and TLM leave the decoder alone.
        assert run.accelerator.ddp_handler.find_unused_parameters
        sharded = {hasattr(parameter, "full_tensor") for parameter in run.model.parameters()}
        assert sharded == {parallel == "fsdp"}
        first = list(run.updates(4))
        run.save(folder / f"{parallel}_saved", {"kind": parallel})
        valid = list(run.batches.global_batch(100))
        tally = run.evaluate(valid)
        last = list(run.updates(8))
        again = _run(folder, parallel)
        assert again.resume(folder / f"{parallel}_saved") == {"kind": parallel}
        list(again.updates(8))
        found, resumed = weights(run), weights(again)
        assert all(torch.equal(found[name], resumed[name]) for name in found)
        norms = [update.gradient_norm for update in first + last]
        if run.is_main:
            kept = {
                "weights": found,
                "norms": norms,
                "tally": [tally.loss, tally.predicted, tally.correct],
                "ranks": run.ranks,
            }
            torch.save(kept, folder / f"{parallel}.pt")
            print(parallel, type(run.wrapped).__name__)


def _run(folder: Path, parallel: str) -> TrainingRun:
    return small_run(folder, accumulate=2, precision="float64", parallel=parallel)


if __name__ == "__main__":
    warnings.simplefilter("ignore", FutureWarning)
    faulthandler.dump_traceback_later(500, exit=True)  # where one waits for another
    main(Path(sys.argv[1]))
