"""A run that is killed, also while a checkpoint is written, and goes on as if nothing had been."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from tests.support.killed_training import killed_and_resumed

KILLS = 20 if os.environ.get("XLM_FULL") == "1" else 1


def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    found, expected = killed_and_resumed(
        "torch", tmp_path, kills=KILLS, environment=threads, ends_here=True
    )
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
