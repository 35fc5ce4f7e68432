"""Two processes do not write to one folder."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xlm_core.errors import CheckpointError, XLMWarning
from xlm_core.training.checkpoints import RunFolder

# Without the package, whose import would take longer than all of this.
HOLDER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.lockf(file, fcntl.LOCK_EX)
os.write(file, f"process {os.getpid()} on elsewhere\\n".encode())
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder of a run, until it is killed."""
    folder.path.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", HOLDER, str(folder.path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_folder_is_held_until_its_process_is_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with another_process(folder) as process:
        expected = f"run is in use: process {process.pid} on elsewhere trains there"
        with pytest.raises(CheckpointError, match=expected):
            folder.check_free()
        with pytest.raises(CheckpointError, match=expected), folder.held():
            pass
        process.kill()
        process.wait()
        folder.check_free()
        with folder.held():  # what the killed one left does not count
            assert f"process {os.getpid()} on" in (folder.path / ".lock").read_text()


def test_this_process_counts_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.check_free()
    assert not folder.path.exists()
    with folder.held():
        for _ in range(2):
            with pytest.raises(CheckpointError, match="in use: this process"):
                folder.check_free()
            with pytest.raises(CheckpointError, match="in use: this process"), folder.held():
                pass
        child = os.fork()
        if not child:  # has the file open as well, and holds nothing
            os._exit(0 if is_held_for_another_process(folder.path / ".lock") else 1)
        assert os.waitpid(child, 0)[1] == 0
    folder.check_free()
    with folder.held():
        pass


def is_held_for_another_process(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_there_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    folder = RunFolder(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.check_free()
    with pytest.warns(XLMWarning, match="no file locks") as found, folder.held():
        pass
    assert len(found) == 1
