"""Processes end when they should, whatever the program does that started them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_tokenizer as work
from tests.support.small_tokenizer import small_tokenizer, write_folder
from tests.support.tokenizer_parts import (
    BOOT,
    be_a_fork,
    greeting_of,
    stop_without_workers,
    threads_of,
)
from xlm_core import XLMTokenizer
from xlm_core.errors import WorkerError
from xlm_core.tokenization.workers.pool import TokenizerPool

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that ended and that nobody waited for yet is still in the list.
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(processes: Iterable[int], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def processes_of(pool: TokenizerPool) -> set[int]:
    return set(pool.run(work.process_of, range(8)))


class TestEnds:
    @pytest.mark.parametrize(
        ("function", "message"),
        [(work.die_of_signal, "SIGKILL.*fewer workers"), (work.exit_with, "ended with status 3")],
    )
    def test_a_worker_that_dies(self, tokenizer: XLMTokenizer, function: Any, message: str) -> None:
        with TokenizerPool(tokenizer, 2) as pool:
            processes = processes_of(pool)
            assert len(processes) == 2
            with pytest.raises(WorkerError, match=message):
                list(pool.run(function, [3]))
        assert gone(processes, 0)

    def test_at_the_end_of_the_block(self, tokenizer: XLMTokenizer) -> None:
        with TokenizerPool(tokenizer, 2) as pool:
            processes = processes_of(pool)
            assert all(map(alive, processes))
        assert gone(processes, 0)
        with pytest.raises(WorkerError, match="is closed"):
            list(pool.imap([["a"]]))
        pool.close()

    def test_after_an_error_with_work_under_way(self, tokenizer: XLMTokenizer) -> None:
        start = time.monotonic()
        processes: set[int] = set()

        def interrupted() -> None:
            with TokenizerPool(tokenizer, 2) as pool:
                processes.update(processes_of(pool))
                results = pool.run(work.sleep_and_return, [(0, 1), *[(600, 2)] * 5])
                assert next(results) == 1
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert len(processes) == 2
        assert gone(processes, 0)
        assert time.monotonic() - start < 120

    def test_closed_by_another_thread(self, tokenizer: XLMTokenizer) -> None:
        pool = TokenizerPool(tokenizer, 1)
        processes = processes_of(pool)
        timer = threading.Timer(0.3, pool.close)
        timer.start()
        with pytest.raises(WorkerError):
            list(pool.run(work.sleep_and_return, [(600, 1)] * 9))
        timer.join()
        assert gone(processes, 0)

    def test_a_forgotten_pool(self, tokenizer: XLMTokenizer) -> None:
        pool = TokenizerPool(tokenizer, 1)
        processes, threads = processes_of(pool), threads_of(pool)
        del pool
        gc.collect()
        assert gone(processes)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()

    def test_a_fork_neither_uses_nor_ends_it(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with TokenizerPool(tokenizer, 1) as pool:
            processes = processes_of(pool)
            with monkeypatch.context() as forked:
                be_a_fork(forked)
                with pytest.raises(WorkerError, match="forked"):
                    list(pool.imap([["a"]]))
                stop_without_workers(pool)
            assert all(map(alive, processes))
            assert len(list(pool.imap([["a"]]))) == 1


SCRIPT = """
import sys
from xlm_core import XLMTokenizer
from xlm_core.tokenization import parallel
from tests.support import small_tokenizer as work
from tests.support.tokenizer_parts import every_text_is_worth_a_process

print("main", flush=True)
tokenizer = XLMTokenizer.from_pretrained(sys.argv[1])
every_text_is_worth_a_process(texts_a_batch=1)
"""
CALL = """
texts = ["abc de", "fg"] * 4
assert tokenizer(texts, workers=2)["input_ids"] == tokenizer(texts)["input_ids"]
print("done")
"""
IN_A_THREAD = """
import threading

def run():
    texts = ["abc de", "fg"] * 4
    assert tokenizer(texts, workers=2)["input_ids"] == tokenizer(texts)["input_ids"]
    print("done")

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
NEVER_CLOSED = """
pool = parallel.TokenizerPool(tokenizer, 2)
print(*set(pool.run(work.process_of, range(8))), flush=True)
"""
STUCK = """
pool = parallel.TokenizerPool(tokenizer, 2)
print(*set(pool.run(work.process_of, range(8))), flush=True)
list(pool.run(work.sleep_and_return, [(600, 1)] * 9))
"""


def start(source: str, folder: Path, *, script: Path | None = None) -> subprocess.Popen[str]:
    """A Python program of its own: a file if `script` says which, else from standard input."""
    if script is not None:
        script.write_text(SCRIPT + source)
    process = subprocess.Popen(
        [sys.executable, "-" if script is None else str(script), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stdin is not None
    if script is None:
        process.stdin.write(SCRIPT + source)
    process.stdin.close()
    process.stdin = None
    return process


class TestPrograms:
    @pytest.mark.parametrize("source", [CALL, IN_A_THREAD])
    @pytest.mark.parametrize("is_file", [True, False])
    def test_without_a_guard(self, tmp_path: Path, source: str, is_file: bool) -> None:
        script = tmp_path / "script.py" if is_file else None
        with start(source, write_folder(tmp_path / "files"), script=script) as process:
            out, err = process.communicate(timeout=300)
        assert (out, err, process.returncode) == ("main\ndone\n", "", 0)

    def test_a_pool_that_is_never_closed(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "files")
        with start(NEVER_CLOSED, folder, script=tmp_path / "script.py") as process:
            out, err = process.communicate(timeout=300)
        assert (err, process.returncode) == ("", 0)
        processes = list(map(int, out.split()[1:]))
        assert len(processes) == 2
        assert gone(processes)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_a_signal_leaves_no_process(self, tmp_path: Path, number: signal.Signals) -> None:
        folder = write_folder(tmp_path / "files")
        with start(STUCK, folder, script=tmp_path / "script.py") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "main\n"
            processes = list(map(int, process.stdout.readline().split()))
            assert len(processes) == 2
            time.sleep(0.3)
            # As a terminal does: to the whole group.
            os.killpg(process.pid, number)
            _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        # One traceback, the program's own: workers are not disturbed.
        assert err.count("Traceback") == (number == signal.SIGINT)
        assert gone(processes)

    @pytest.mark.parametrize("sent", [0, 5, 40, 200, 2000])
    def test_a_caller_that_ends_while_it_greets(self, tokenizer: XLMTokenizer, sent: int) -> None:
        greeting = greeting_of(tokenizer)
        ended = subprocess.run(
            [sys.executable, "-P", "-c", BOOT],
            input=greeting[:sent],
            capture_output=True,
            timeout=120,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
