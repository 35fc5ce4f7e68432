"""A run that is killed, also while a checkpoint is written, and goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.killed_training import killed_and_resumed

KILLS = 20


@pytest.mark.full  # each kill takes as long as TensorFlow takes to start and to trace a step
def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    """With operations that are deterministic, as `xlm pretrain` runs on CPUs."""
    found, expected = killed_and_resumed(
        "tf", tmp_path, kills=KILLS, environment={}, ends_here=False
    )
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
