"""Several devices and several workers train as one device with the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.tf_training_runs import (
    DEVICE_TASKS,
    fitted_alone,
    odd_run,
    run_processes,
    small_run,
    trained,
    weights,
)
from tests.support.training_corpora import write_corpora

CLOSE = 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("devices")
    write_corpora(made)
    return made


@pytest.fixture(scope="module")
def alone(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """One device: what it found, and its weights."""
    run = small_run(folder, tasks=DEVICE_TASKS, config={"n_layers": 1})
    run.save(folder / "start")
    return trained(run, folder, "alone"), weights(run)


def assert_as_alone(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for mine, own in zip(found["losses"], expected["losses"], strict=True):
        assert mine == pytest.approx(own, rel=0, abs=CLOSE)
    for name in ("norms", "tally"):
        assert found[name] == pytest.approx(expected[name], rel=0, abs=CLOSE)
    assert found["tokens"] == expected["tokens"]


def assert_weights(path: Path, expected: dict[str, np.ndarray[Any, Any]]) -> None:
    found = np.load(path)
    assert set(found.files) == set(expected)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() < CLOSE, name


def test_two_devices(folder: Path, alone: Any) -> None:
    """Through the project's own step and through `fit`; a checkpoint is gone on from exactly."""
    (found,) = run_processes("mirrored", folder, number=1)
    assert_as_alone(found, alone[0])
    assert_weights(folder / "mirrored-0.npz", alone[1])
    assert_weights(folder / "fitted.npz", alone[1])
    odd = odd_run(folder)
    list(odd.updates(2))
    assert_weights(folder / "odd.npz", weights(odd))
    assert found["losses again"] == found["losses"][2:]
    assert found["seeds"][0] != found["seeds"][1], "both drop the same"
    assert (found["ranks"], found["values"]) == (2, [1.0])
    # Each drops other entries.
    one, two = found["seeds"]
    assert one != two
    loss, arrays = fitted_alone()
    assert found["fit"] == pytest.approx(loss, rel=1e-6)
    assert_weights(folder / "fitted-alone.npz", arrays)
    assert found["numbers"] == pytest.approx([2**15, 1e-3])
    # Rows are shared unevenly, of the last batch one device has none.
    heads = found["heads"]
    assert {*heads} == {
        *("classes: loss", "classes: accuracy", "regression: loss", "loss of Keras: loss")
    }
    assert np.isfinite([*heads.values()]).all()


def test_a_worker_that_ended_is_told_in_words(folder: Path) -> None:
    [found, _] = run_processes("lost", folder, number=2)
    assert found["lost"].startswith("another process of this run ended, or answers no more (")


def test_two_workers(folder: Path, alone: Any) -> None:
    """Each a process: only the first writes."""
    of_ranks = run_processes("workers", folder, number=2)
    assert of_ranks[0]["seeds"] != of_ranks[1]["seeds"], "both drop the same"
    for rank, found in enumerate(of_ranks):
        assert_as_alone(found, alone[0])
        assert_weights(folder / f"workers-{rank}.npz", alone[1])
        assert (found["ranks"], found["values"]) == (2, [1.0, 0.0])
