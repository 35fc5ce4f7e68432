"""Several processes give what one gives, end when they should, and say what went wrong."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_tokenizer as work
from tests.support.small_tokenizer import small_tokenizer, write_folder
from xlm_core import InputError, XLMTokenizer
from xlm_core.errors import MissingPackageError, UnknownLanguageError, WorkerError
from xlm_core.tokenization import parallel
from xlm_core.tokenization.parallel import TokenizerPool, ids_in_processes

ROOT = Path(__file__).resolve().parents[3]
TEXTS = ["abc de", "", "fg fg h a", "<special1> abc", "ABC, d.", "z\ud800z", "\u200b", "ab " * 900]
OPTIONS = {"words": False, "bypass": False, "split_special_tokens": False}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def pool(tokenizer: XLMTokenizer) -> Iterator[TokenizerPool]:
    with TokenizerPool(tokenizer, 2) as pool:
        yield pool


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are worth their start for any text."""
    monkeypatch.setattr(parallel, "_CHARACTERS_A_WORKER", 1)
    monkeypatch.setattr(parallel, "_TEXTS_A_BATCH", 3)


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


class TestSameIds:
    @pytest.mark.usefixtures("eager")
    @pytest.mark.parametrize("options", [{}, {"bypass": True}, {"split_special_tokens": True}])
    def test_texts(self, tokenizer: XLMTokenizer, options: dict[str, bool]) -> None:
        options = {**OPTIONS, **options}
        langs = [("en", "fr", None)[i % 3] for i in range(len(TEXTS))]
        expected = tokenizer._ids_of_texts(TEXTS, langs, workers=1, **options)
        assert ids_in_processes(tokenizer, TEXTS, langs, options, 2) == expected
        assert expected[0] != expected[1] == []

    @pytest.mark.usefixtures("eager")
    def test_words(self, tokenizer: XLMTokenizer) -> None:
        texts = [text.split() for text in TEXTS]
        options = {**OPTIONS, "words": True}
        langs: list[str | None] = [None] * len(texts)
        expected = tokenizer._ids_of_texts(texts, langs, workers=1, **options)
        assert ids_in_processes(tokenizer, texts, langs, options, 2) == expected

    @pytest.mark.usefixtures("eager")
    def test_a_call(self, tokenizer: XLMTokenizer) -> None:
        assert dict(tokenizer(TEXTS, workers=3)) == dict(tokenizer(TEXTS))

    def test_imap(self, tokenizer: XLMTokenizer, pool: TokenizerPool) -> None:
        batches = [TEXTS, [], TEXTS[:3], [""]]
        expected = [
            [tokenizer.encode(text, add_special_tokens=False) for text in batch]
            for batch in batches
        ]
        assert list(pool.imap(batches)) == expected
        words = [[text.split() for text in batch] for batch in batches]
        found = list(pool.imap(words, lang="fr", words=True, bypass_tokenizer=True))
        expected = [
            tokenizer(
                batch,
                lang="fr",
                is_split_into_words=True,
                bypass_tokenizer=True,
                add_special_tokens=False,
            )["input_ids"]
            if batch
            else []
            for batch in words
        ]
        assert found == expected

    def test_settings_travel(self, tmp_path: Path) -> None:
        other = small_tokenizer(tmp_path, mode="original", do_lowercase_and_remove_accent=False)
        other.split_special_tokens = True
        other.add_tokens("zz")
        texts = ["ABC zz"]
        with TokenizerPool(other, 1) as pool:
            (found,) = pool.imap([texts])
            (whole,) = pool.imap([texts], split_special_tokens=False)
        assert found == [other.encode(texts[0], add_special_tokens=False)]
        assert whole[0][-1] == len(other) - 1 != found[0][-1]

    def test_ids_beyond_int32(self, tmp_path: Path) -> None:
        vocabulary = {**work.vocabulary(), "h</w>": 1 << 40}
        large = XLMTokenizer(vocabulary, write_folder(tmp_path) / "merges.txt")
        packed = parallel._ids_of_batch(large, (["h a"], "en", OPTIONS))
        assert parallel._unpacked(packed) == [[1 << 40, vocabulary["a</w>"]]]

    def test_a_few_texts_start_no_process(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parallel, "TokenizerPool", None)
        assert tokenizer(TEXTS, workers=2)["input_ids"] == tokenizer(TEXTS)["input_ids"]

    @pytest.mark.parametrize("most", [1, 2, 5, 99])
    def test_division_into_batches(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        monkeypatch.setattr(parallel, "_TEXTS_A_BATCH", most)
        monkeypatch.setattr(parallel, "_CHARACTERS_A_BATCH", 10)
        sizes = [3, 3, 3, 3, 0, 30, 1, 10, 0, 0]
        cuts = list(parallel._batches(sizes))
        assert [size for cut in cuts for size in sizes[cut]] == sizes
        for cut in cuts:
            assert 1 <= len(sizes[cut]) <= most
            assert sum(sizes[cut]) <= 10 or len(sizes[cut]) == 1


class TestStream:
    def test_order(self, pool: TokenizerPool) -> None:
        items = [(0.2 if i % 5 == 0 else 0.0, i) for i in range(20)]
        assert list(pool.run(work.sleep_and_return, items)) == list(range(20))

    def test_reads_no_further_than_needed(self, pool: TokenizerPool) -> None:
        read = 0

        def endless() -> Iterator[list[str]]:
            nonlocal read
            while True:
                read += 1
                yield ["abc"]

        results = pool.imap(endless())
        assert read == 0
        for taken in range(1, 30):
            next(results)
            assert read <= taken + pool._bound
            if taken % 10 == 0:
                time.sleep(0.05)

    def test_an_abandoned_stream_leaves_the_pool_usable(self, pool: TokenizerPool) -> None:
        assert len(list(islice(pool.imap(["abc"] for _ in range(100)), 3))) == 3
        assert list(pool.run(work.sleep_and_return, [(0, "x")])) == ["x"]

    def test_threads_share_a_pool(self, pool: TokenizerPool) -> None:
        found: dict[int, list[Any]] = {}

        def run(start: int) -> None:
            items = [(0.001 * (i % 3), start + i) for i in range(30)]
            found[start] = list(pool.run(work.sleep_and_return, items))

        threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {start: list(range(start, start + 30)) for start in (0, 100, 200)}

    def test_what_is_printed_does_no_harm(self, pool: TokenizerPool, capfd: Any) -> None:
        assert list(pool.run(work.print_and_return, [1, 2])) == [1, 2]


class TestErrors:
    def test_of_the_tokenizer(self, tokenizer: XLMTokenizer, pool: TokenizerPool) -> None:
        with pytest.raises(UnknownLanguageError) as here:
            tokenizer.tokenize("a", lang="xx")
        with pytest.raises(UnknownLanguageError) as there:
            list(pool.imap([["a"]], lang="xx"))
        assert str(there.value) == str(here.value)
        assert not hasattr(there.value, "__notes__")
        assert len(list(pool.imap([["a"]]))) == 1  # goes on

    def test_of_the_items(self, pool: TokenizerPool) -> None:
        def items() -> Iterator[list[str]]:
            yield ["a"]
            raise OSError("the disk")

        with pytest.raises(OSError, match="the disk"):
            list(pool.imap(items()))

    def test_any_other(self, pool: TokenizerPool) -> None:
        with pytest.raises(IndexError, match="no 7") as caught:
            list(pool.run(work.raise_index_error, [7]))
        assert "raise_index_error" in caught.value.__notes__[0]

    def test_one_that_cannot_travel(self, pool: TokenizerPool) -> None:
        with pytest.raises(WorkerError, match="Local in a worker process: of a function"):
            list(pool.run(work.raise_what_cannot_travel, [0]))

    def test_a_missing_package_travels(self) -> None:
        import pickle

        error = MissingPackageError("Texts in 'ja' ...")
        found = pickle.loads(parallel._pickled(error))
        assert type(found) is MissingPackageError
        assert str(found) == str(error)

    @pytest.mark.parametrize(
        ("batch", "words", "message"),
        [
            ("abc", False, "A batch is a list of texts; got str"),
            (7, False, "A batch is a list of texts; got int"),
            ([b"abc"], False, "a batch holds bytes"),
            (["abc"], True, "lists of text"),
            ([["abc"]], False, "lists of tokens: expected texts"),
            ([[1]], True, "lists of ids"),
        ],
    )
    def test_wrong_batches(
        self, pool: TokenizerPool, batch: Any, words: bool, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            list(pool.imap([batch], words=words))

    @pytest.mark.parametrize("workers", [0, -1, 1.5, True])
    def test_wrong_number(self, tokenizer: XLMTokenizer, workers: Any) -> None:
        with pytest.raises(InputError, match="workers="):
            TokenizerPool(tokenizer, workers)

    def test_functions_of_a_script(
        self, pool: TokenizerPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def function(tokenizer: Any, item: Any) -> None: ...

        monkeypatch.setattr(function, "__module__", "__main__")
        with pytest.raises(InputError, match="function is defined in the program"):
            list(pool.run(function, [1]))

    def test_tokenizers_of_a_script(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Mine(XLMTokenizer):
            pass

        mine = Mine.from_pretrained(write_folder(tmp_path))
        with pytest.raises(InputError, match=r"cannot be sent.*workers=1"):
            TokenizerPool(mine, 1)
        monkeypatch.setattr(Mine, "__module__", "__main__")
        with pytest.raises(InputError, match=r"Mine is defined in the program"):
            TokenizerPool(mine, 1)

    def test_a_tokenizer_that_workers_cannot_make(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = "from xlm_core import XLMTokenizer\nclass Mine(XLMTokenizer): pass\n"
        (tmp_path / "only_here.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        import only_here

        mine = only_here.Mine.from_pretrained(write_folder(tmp_path / "files"))
        with TokenizerPool(mine, 1) as pool:  # the path of modules travels
            assert list(pool.run(work.process_of, [0])) != [os.getpid()]
        (tmp_path / "only_here.py").unlink()
        with (
            TokenizerPool(mine, 1) as pool,
            pytest.raises(WorkerError, match=r"cannot be made.*only_here"),
        ):
            list(pool.run(work.process_of, [0]))

    @pytest.mark.parametrize("executable", ["", None])
    def test_no_interpreter(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch, executable: Any
    ) -> None:
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(WorkerError, match="workers=1"):
            TokenizerPool(tokenizer, 2)

    def test_an_interpreter_that_does_not_start(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
        with pytest.raises(WorkerError, match="cannot be started"):
            TokenizerPool(tokenizer, 2)

    def test_another_program(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program = tmp_path / "noise"
        program.write_text("#!/bin/sh\necho a greeting of some start-up file\ncat > /dev/null\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        with (
            TokenizerPool(tokenizer, 1) as pool,
            pytest.raises(WorkerError, match="a greeting"),
        ):
            list(pool.imap([["a"]]))


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
        processes, threads = processes_of(pool), pool._threads
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
                forked.setattr(parallel.os, "getpid", lambda: -1)
                with pytest.raises(WorkerError, match="forked"):
                    list(pool.imap([["a"]]))
                parallel._stop([], pool._jobs, pool._process)
            assert all(map(alive, processes))
            assert len(list(pool.imap([["a"]]))) == 1


SCRIPT = """
import sys
from xlm_core import XLMTokenizer
from xlm_core.tokenization import parallel
from tests.support import small_tokenizer as work

print("main", flush=True)
tokenizer = XLMTokenizer.from_pretrained(sys.argv[1])
parallel._CHARACTERS_A_WORKER = parallel._TEXTS_A_BATCH = 1
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


def test_workers_load_no_framework(pool: TokenizerPool) -> None:
    (modules,) = pool.run(work.modules_of, [0])
    assert "xlm_core" in modules
    assert {"torch", "tensorflow", "keras", "jax", "transformers"}.isdisjoint(modules)
    assert list(pool.run(work.environment_of, ["OMP_NUM_THREADS"])) == ["1"]
