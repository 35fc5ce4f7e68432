"""Training in both frameworks: the same weights and losses, update by update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import tf_training_runs, training_runs
from tests.support.training_corpora import ALL_TASKS, write_corpora
from xlm_core.objectives import tasks_of

ONE_STEP, LOSSES = 1e-10, 1e-8
CAUSAL = tasks_of("clm", ["en", "en-fr"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("training")
    write_corpora(made)
    return made


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Any:
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state()


def largest_difference(in_torch: Any, in_tf: Any) -> float:
    theirs = tf_training_runs.weights(in_tf)
    return max(
        float(np.abs(x.detach().numpy() - theirs[name]).max())
        for name, x in training_runs.weights(in_torch).items()
        if name in theirs
    )


@pytest.mark.parametrize(
    ("tasks", "options"),
    [
        (ALL_TASKS, {}),
        (CAUSAL, {"accumulate": 2, "mean_of_ranks": True}),
    ],
    ids=["mlm, tlm, mt", "clm"],
)
def test_the_same_run(folder: Path, tmp_path: Path, tasks: Any, options: Any) -> None:
    """The original's Adam, no dropout, float64."""
    in_torch = training_runs.small_run(folder, tasks=tasks, config={"n_layers": 1}, **options)
    in_torch.save_model(tmp_path / "start")
    in_tf = tf_training_runs.small_run(
        folder, tasks=tasks, config={"n_layers": 1}, start=tmp_path / "start", **options
    )
    assert largest_difference(in_torch, in_tf) == 0
    for number, (one, two) in enumerate(zip(in_torch.updates(50), in_tf.updates(50), strict=True)):
        assert one.losses.keys() == two.losses.keys()
        for name, loss in one.losses.items():
            assert abs(loss - two.losses[name]) < LOSSES, (number, name)
        assert (one.predicted, one.tokens) == (two.predicted, two.tokens)
        assert (one.learning_rate, one.number) == (two.learning_rate, two.number)
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-8)
        if number == 0:
            assert largest_difference(in_torch, in_tf) < ONE_STEP
    batches = in_torch.batches.global_batch(3)
    mine, theirs = in_torch.evaluate(batches), in_tf.evaluate(batches)
    assert mine.loss == pytest.approx(theirs.loss, abs=1e-6)
    assert (mine.predicted, mine.correct) == (theirs.predicted, theirs.correct)
