"""Training on several processes: as on one, whether they have copies or shards of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.training_runs import run_ranks, small_run, weights, write_corpora
from xlm_core.errors import XLMWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    write_corpora(made)
    run_ranks("tests.support.training_ranks", str(made))
    return made


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    run = small_run(folder, accumulate=2)
    first = list(run.updates(4))
    tally = run.evaluate(run.batches.global_batch(100))
    norms = [update.gradient_norm for update in first + list(run.updates(8))]
    return {
        "weights": weights(run),
        "norms": norms,
        "tally": [tally.loss, tally.predicted, tally.correct],
    }


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one(folder: Path, alone: dict[str, Any], parallel: str) -> None:
    found = torch.load(folder / f"{parallel}.pt", weights_only=True)
    assert found["ranks"] == 2
    assert found["norms"] == pytest.approx(alone["norms"], rel=1e-9)
    assert found["tally"] == pytest.approx(alone["tally"], rel=1e-12)
    for name, value in alone["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_process_goes_on_from_two(folder: Path, alone: dict[str, Any], parallel: str) -> None:
    run = small_run(folder, accumulate=2)
    with pytest.warns(XLMWarning, match="saved by 2 ranks and goes on with 1"):
        run.resume(folder / f"{parallel}_saved")
    list(run.updates(8))
    for name, value in weights(run).items():
        torch.testing.assert_close(value, alone["weights"][name], rtol=0, atol=1e-9)
