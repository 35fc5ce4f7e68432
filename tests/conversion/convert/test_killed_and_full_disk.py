"""A conversion that is killed, or meets a full disk, leaves the target as it was, or whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conversion.convert import convert
from tests.conftest import FULL
from tests.support.layout_models import assert_same
from xlm_core import XLMConfig
from xlm_core.checkpoints import LAYOUTS, LazyTensor
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.weights import tensors_of

LM = "XLMWithLMHeadModel"
KILLS = 50 if FULL else 16


def weights(seed: int) -> Weights:
    """A model of 30 MB, so that writing takes a while."""
    config = XLMConfig(vocab_size=9000, emb_dim=256, n_layers=6, n_heads=4, architectures=[LM])
    rng = np.random.default_rng(seed)
    tensors = [
        (spec, LazyTensor.of(rng.standard_normal(spec.shape, np.float32)))
        for spec in tensors_of(config, LM)
        if spec.tied_to is None
    ]
    return Weights(config, LM, tensors)


def command(source: Path, target: Path, *options: str) -> list[str]:
    run = ["-m", "conversion", "convert", str(source), str(target), "--quiet", "--overwrite"]
    return [sys.executable, *run, *options]


def holds(target: Path, model: Weights) -> bool:
    try:
        assert_same(model, target)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_killed_at_any_moment(tmp_path: Path, kind: str) -> None:
    """The target is the old model or the new one, never half of one."""
    old, new, source, target = weights(0), weights(1), tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_folder(source, new, LAYOUTS["safetensors"])
    to = ("--to", "tf") if kind == "folder" else ("--to", "facebook")
    target = tmp_path / ("target" if kind == "folder" else "target.pth")
    before = tmp_path / "before"
    before.mkdir()
    write_folder(before, old, LAYOUTS["safetensors"])
    convert(before, target, to=to[1])
    start = time.perf_counter()
    subprocess.run(command(source, target, *to), check=True)
    whole = time.perf_counter() - start
    assert holds(target, new)
    rng = random.Random(5)
    seen = {"old": 0, "new": 0}
    for _ in range(KILLS // 2):
        convert(before, target, to=to[1], overwrite=True, check=False)
        process = subprocess.Popen(command(source, target, *to))
        time.sleep(rng.uniform(0.2, 1.1) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen["new" if holds(target, new) else "old"] += 1
        assert holds(target, new) or holds(target, old)
        # A file or folder beside it may be left of a killed process, under a name that says so.
        others = {path.name for path in tmp_path.iterdir()} - {"source", "before", target.name}
        assert all(name.startswith(f".{target.name}.") for name in others)
    print(f"{KILLS // 2} kills of a {kind}: {seen}")


def test_interrupted_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_folder(source, weights(1), LAYOUTS["safetensors"])
    process = subprocess.Popen(
        command(source, target, "--to", "tf"), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if any(path.name.startswith(".target") for path in tmp_path.iterdir()):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=60)
    # On a busy machine a process has been seen to end by the signal itself.
    assert process.returncode in (0, 130, -signal.SIGINT)
    if process.returncode == 130:
        assert errors.strip().endswith("xlm convert: interrupted")
    # The signal may come when the work is done, and the process about to end.
    if process.returncode == 0 or target.exists():
        assert holds(target, weights(1))
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "target"}


@pytest.mark.parametrize("to", LAYOUTS)
def test_a_full_disk(tmp_path: Path, to: str) -> None:
    """A limit on the size of files stands for it: writing fails in the middle."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write_folder(source, weights(1), LAYOUTS["safetensors"])
    subprocess.run(command(source, target, "--to", to), check=True)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    limited = (
        "import resource, runpy, sys; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000)); "
        "sys.argv[0] = 'xlm'; runpy.run_module('conversion', run_name='__main__')"
    )
    run = [sys.executable, "-c", limited, *command(source, target, "--to", to)[3:]]
    result = subprocess.run(run, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "could not be written: the disk is full" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"source", "target"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    source, disk = tmp_path / "source", tmp_path / "disk"
    source.mkdir()
    disk.mkdir()
    write_folder(source, weights(1), LAYOUTS["safetensors"])
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)])
    if mount.returncode:
        pytest.skip("no file system could be mounted here")
    try:
        result = subprocess.run(
            command(source, disk / "target", "--to", "torch"), capture_output=True, text=True
        )
        assert result.returncode == 2
        assert "MB free" in result.stderr
        assert [*disk.iterdir()] == []
        # Room for the tensors by the numbers, and none by the time that they are written.
        (disk / "filler").write_bytes(b"x" * 20_900_000)
        for to in ("tf", "keras", "facebook", "safetensors"):
            code = (
                "import shutil; shutil.disk_usage = lambda path: type('U', (), {'free': 1 << 40}); "
                "from conversion.cli import main; raise SystemExit(main())"
            )
            run = [sys.executable, "-c", code, *command(source, disk / "target", "--to", to)[3:]]
            result = subprocess.run(run, capture_output=True, text=True)
            assert result.returncode == 2, result.stderr
            assert "could not be written" in result.stderr
            assert [file.name for file in disk.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
