"""`xlm pretrain` on two processes: the run of one, and one of them writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conversion.training import pretrain
from tests.support.small_run import MASKED, OF_PAIRS, write_config, write_texts
from xlm_torch import XLMWithLMHeadModel

ROOT = Path(__file__).resolve().parents[3]


def torchrun(folder: Path, processes: int, *command: str) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *launch, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_one_process_of_a_launcher_trains_tasks_of_other_parts(tmp_path: Path) -> None:
    """Accelerate gives it a DistributedDataParallel, which wants to know of unused parameters."""
    write_texts(tmp_path)
    file = write_config(tmp_path, OF_PAIRS)
    done = torchrun(tmp_path, 1, "-m", "conversion", "pretrain", str(file))
    assert done.returncode == 0, done.stderr
    assert "update 8: done" in done.stderr


def test_processes_that_would_train_on_other_things_do_not(tmp_path: Path) -> None:
    write_texts(tmp_path)
    text = write_config(tmp_path, MASKED).read_text()
    for rank, rate in enumerate((0.01, 0.02)):
        own = text.replace("learning_rate = 0.01", f"learning_rate = {rate}")
        (tmp_path / f"{rank}.toml").write_text(own)
    command = 'exec "$0" -m conversion pretrain "$RANK.toml"'
    done = torchrun(tmp_path, 2, "--no-python", "bash", "-c", command, sys.executable)
    assert done.returncode == 1
    assert "the processes of this run have different configurations" in done.stderr
    assert not [*(tmp_path / "run").glob("*.csv")]


# torchrun asks the other rank to end, too, and may be faster than gloo.
ENDS = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
from conversion.cli import main
from xlm_torch.training import TrainingRun
if os.environ["RANK"] == "1":
    of_all_ranks = TrainingRun.of_all_ranks
    def end(self, value):
        if self.update == int(sys.argv[2]):
            os._exit(9)
        return of_all_ranks(self, value)
    TrainingRun.of_all_ranks = end
sys.exit(main(["pretrain", sys.argv[1], "--quiet"]))
"""


def test_a_process_that_ends_is_told_in_words(tmp_path: Path) -> None:
    """By the main one, with the checkpoint to go on from, and before the run begins too."""
    write_texts(tmp_path)
    file = write_config(tmp_path, MASKED)
    (tmp_path / "ends.py").write_text(ENDS)
    said = "xlm pretrain: another process of this run ended, or answers no more ("
    for update, last in (0, ""), (5, "The last good checkpoint is"):
        done = torchrun(tmp_path, 2, str(tmp_path / "ends.py"), str(file), str(update))
        assert done.returncode == 1
        [line] = [line for line in done.stderr.splitlines() if said in line]
        assert last in line
        assert "[rank0]" not in done.stderr
    assert f"error: {said[14:]}" in (tmp_path / "run" / "log.txt").read_text()
    assert "<b>FAILED</b>" in (tmp_path / "run" / "curves.html").read_text()


LEAVES = """
import atexit, sys, torch
atexit.register(lambda: print("in a group:", torch.distributed.is_initialized(), file=sys.stderr))
from conversion.cli import main
sys.exit(main(["pretrain", sys.argv[1], "--quiet"]))
"""


def test_processes_leave_their_group_before_python_ends(tmp_path: Path) -> None:
    """Threads of gloo that outlive it end a process that has done its work by SIGABRT, at times."""
    write_texts(tmp_path)
    (tmp_path / "leaves.py").write_text(LEAVES)
    done = torchrun(tmp_path, 2, str(tmp_path / "leaves.py"), str(write_config(tmp_path, MASKED)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("in a group: False") == 2


def test_two_processes_make_the_run_of_one(tmp_path: Path) -> None:
    write_texts(tmp_path)
    file = write_config(tmp_path, MASKED, 'criterion = "valid_mlm_ppl"')
    text = file.read_text().replace("seed = 3", 'seed = 3\nprecision = "float64"')
    text = text.replace("n_heads = 2", "n_heads = 2\ndropout = 0.0\nattention_dropout = 0.0")
    file.write_text(text)
    pretrain(file)
    file.write_text(text.replace('/run"', '/two"'))
    done = torchrun(tmp_path, 2, "-m", "conversion", "pretrain", str(file))
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
