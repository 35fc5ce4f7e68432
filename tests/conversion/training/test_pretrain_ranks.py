"""`xlm pretrain` on two processes: the run of one, and one of them writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conversion.training import pretrain
from tests.support.small_run import MASKED, write_config, write_texts
from xlm_torch import XLMWithLMHeadModel

ROOT = Path(__file__).resolve().parents[3]


def test_two_processes_make_the_run_of_one(tmp_path: Path) -> None:
    write_texts(tmp_path)
    file = write_config(tmp_path, MASKED, 'criterion = "valid_mlm_ppl"')
    text = file.read_text().replace("seed = 3", 'seed = 3\nprecision = "float64"')
    text = text.replace("n_heads = 2", "n_heads = 2\ndropout = 0.0\nattention_dropout = 0.0")
    file.write_text(text)
    pretrain(file)
    file.write_text(text.replace('/run"', '/two"'))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch, "-m", "conversion", "pretrain", str(file)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("update 8: done") == 1
    assert "find_unused_parameters" not in done.stderr  # MLM and TLM use all of an encoder
    one, two = (
        XLMWithLMHeadModel.from_pretrained(tmp_path / name / "model", dtype="float64")
        for name in ("run", "two")
    )
    for (name, expected), found in zip(
        one.state_dict().items(), two.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, msg=name)
    rows = [
        (tmp_path / name / "figures.csv").read_text().splitlines()[-1].split(",")
        for name in ("run", "two")
    ]
    for expected, found in zip(*rows, strict=True):
        if expected and "." in expected and expected != rows[0][2]:
            assert float(found) == pytest.approx(float(expected), rel=1e-9)
