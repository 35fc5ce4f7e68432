"""A run that is killed, also while a checkpoint is written, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.support import killed_training
from tests.support.training_runs import ROOT, write_corpora
from xlm_core.training.saved import read_run
from xlm_torch import XLMWithLMHeadModel

KILLS = 20 if os.environ.get("XLM_FULL") else 1


def _started(folder: Path, until: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.killed_training", str(folder), str(until)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_goes_on_exactly(tmp_path: Path) -> None:
    draw = random.Random(5)
    write_corpora(tmp_path)
    killed = 0
    while killed < KILLS:
        with _started(tmp_path, 10_000) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                before = _update(tmp_path)
                while _update(tmp_path) <= before:
                    time.sleep(0.01)
                time.sleep(draw.uniform(0.0, 0.3))  # mostly while a checkpoint is written
            finally:
                process.kill()
        assert process.returncode == -9
        killed += 1
        assert read_run(tmp_path / "saved").state["update"] > before  # what is there is whole
    end = _update(tmp_path) + 3
    killed_training.main(tmp_path, end)
    alone = tmp_path / "alone"
    write_corpora(alone)
    killed_training.main(alone, end)
    found, expected = (
        XLMWithLMHeadModel.from_pretrained(each / "end").state_dict() for each in (tmp_path, alone)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def _update(folder: Path) -> int:
    try:
        return int(json.loads((folder / "saved" / "training.json").read_text())["update"])
    except FileNotFoundError:  # there is none, or another takes its place this moment
        return 0
