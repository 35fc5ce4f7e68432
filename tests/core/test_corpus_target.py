"""Where a corpus is written: what may be replaced there, and what stays after an error."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_corpus import write
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMTokenizer, whole_files
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.errors import CorpusError

# Begins a corpus, and never ends.
WRITER = """
import sys, tempfile, time
from pathlib import Path
from tests.support.small_tokenizer import small_tokenizer
from xlm_core.corpus import CorpusWriter
with tempfile.TemporaryDirectory() as folder:
    tokenizer = small_tokenizer(Path(folder))
writer = CorpusWriter(sys.argv[1], tokenizer, ["en"])
print("writes", flush=True)
time.sleep(600)
"""


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has begun to write a corpus."""
    command = [sys.executable, "-c", WRITER, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writes\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.en"


class TestTarget:
    def test_exists(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        with pytest.raises(CorpusError, match=r"exists.*--overwrite"):
            write(path, tokenizer, [])
        assert len(Corpus.open(path)) == 6
        write(path, tokenizer, [[20]], overwrite=True)
        assert len(Corpus.open(path)) == 1
        assert os.listdir(path.parent) == ["train.en"]

    def test_only_a_corpus_is_replaced(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        (path / "notes.txt").write_text("mine")
        with pytest.raises(CorpusError, match="is not a corpus"):
            write(path, tokenizer, overwrite=True)
        for other in (path / "notes.txt", path.parent / "empty"):
            (path.parent / "empty").mkdir(exist_ok=True)
            (path.parent / "empty" / "x").write_text("")
            with pytest.raises(CorpusError, match="is not a corpus"):
                write(other, tokenizer, overwrite=True)
        assert (path / "notes.txt").read_text() == "mine"

    def test_an_empty_folder_is_replaced(self, path: Path, tokenizer: XLMTokenizer) -> None:
        path.mkdir()
        write(path, tokenizer, overwrite=True)
        assert len(Corpus.open(path)) == 6

    def test_a_link_stays(self, tmp_path: Path, path: Path, tokenizer: XLMTokenizer) -> None:
        write(tmp_path / "real", tokenizer)
        path.symlink_to(tmp_path / "real")
        write(path, tokenizer, [[20]], overwrite=True)
        assert path.is_symlink()
        assert len(Corpus.open(tmp_path / "real")) == 1

    def test_parents_are_made(self, tmp_path: Path, tokenizer: XLMTokenizer) -> None:
        write(tmp_path / "a" / "b", tokenizer)
        assert os.listdir(tmp_path / "a") == ["b"]

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_an_interruption_leaves_it(
        self, path: Path, tokenizer: XLMTokenizer, before: bool, error: type[BaseException]
    ) -> None:
        if before:
            write(path, tokenizer)

        def interrupted() -> None:
            with CorpusWriter(path, tokenizer, ["en"], overwrite=True) as writer:
                writer.add([20])
                raise error

        with pytest.raises(error):
            interrupted()
        assert os.listdir(path.parent) == (["train.en"] if before else [])
        if before:
            assert len(Corpus.open(path)) == 6

    @pytest.mark.parametrize("exchanged", [True, False])
    def test_a_failed_rename_leaves_it(
        self,
        path: Path,
        tokenizer: XLMTokenizer,
        monkeypatch: pytest.MonkeyPatch,
        exchanged: bool,
    ) -> None:
        write(path, tokenizer)
        rename = os.rename

        def refuse(source: Path, target: Path) -> None:
            if source.suffix == ".part":
                raise OSError(28, "No space left on device")
            rename(source, target)

        monkeypatch.setattr(os, "rename", refuse)
        monkeypatch.setattr(whole_files, "_exchange", refuse if exchanged else lambda *_: False)
        with pytest.raises(OSError, match="No space"):
            write(path, tokenizer, [[20]], overwrite=True)
        assert os.listdir(path.parent) == ["train.en"]
        assert len(Corpus.open(path)) == 6

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_a_kill_between_two_renames_loses_nothing(
        self, path: Path, tokenizer: XLMTokenizer, overwrite: bool
    ) -> None:
        """Where names cannot be exchanged."""
        write(path, tokenizer)
        path.rename(path.with_name(".train.en.123.0.old"))
        if overwrite:
            write(path, tokenizer, [[20]], overwrite=True)
        else:
            with pytest.raises(CorpusError, match="exists"):
                write(path, tokenizer, [[20]])
        assert len(Corpus.open(path)) == (1 if overwrite else 6)
        path.rename(path.with_name(".train.en.123.0.old"))
        assert len(Corpus.open(path)) == (1 if overwrite else 6)
        assert os.listdir(path.parent) == ["train.en"]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
    def test_what_killed_processes_left_goes(
        self, path: Path, tokenizer: XLMTokenizer, tmp_path: Path
    ) -> None:
        """And no more: another process, or this one, may write there."""
        with writing(path) as killed, writing(path) as living:
            killed.kill()
            killed.wait()
            mine = CorpusWriter(path, tokenizer, ["en"])
            others = {f".train.{end}" for end in ("de.7.0.part", "en.part", "en.7.part")}
            for other in others:
                (tmp_path / other).mkdir()
            parts = {f".train.en.{pid}.0.part" for pid in (living.pid, os.getpid())}
            assert {*os.listdir(tmp_path)} == parts | others
            write(path, tokenizer)
            assert {*os.listdir(tmp_path)} == parts | others | {"train.en"}
            mine.discard()
        write(path, tokenizer, [[20]], overwrite=True)
        assert {*os.listdir(tmp_path)} == others | {"train.en"}

    def test_one_that_came_meanwhile(self, path: Path, tokenizer: XLMTokenizer) -> None:
        writer = CorpusWriter(path, tokenizer, ["en"])
        write(path, tokenizer)
        with pytest.raises(CorpusError, match="exists"):
            writer.close()
        assert os.listdir(path.parent) == ["train.en"]
        with pytest.raises(CorpusError, match="closed"):
            writer.add([20])

    def test_no_end_of_sentence(self, tmp_path: Path, path: Path) -> None:
        tokenizer = small_tokenizer(tmp_path / "files")
        tokenizer.sep_token = None
        with pytest.raises(CorpusError, match="sep_token"):
            CorpusWriter(path, tokenizer, ["en"])

    @pytest.mark.parametrize(
        ("ids", "lengths", "message"),
        [
            ([34], [1], "from 34 to 34; the vocabulary has ids from 0 to 33"),
            ([20, -1], [2], "from -1 to 20"),
            ([20], [2], "There are 1 ids, but lengths"),
            ([20], [2, -1], "There are 1 ids, but lengths"),
            ([20.0], [1], "dtype float64"),
            ([[20]], [1], r"shape \(1, 1\)"),
            ([True], [1], "dtype bool"),
        ],
    )
    def test_wrong_ids(
        self, path: Path, tokenizer: XLMTokenizer, ids: Any, lengths: Any, message: str
    ) -> None:
        with pytest.raises(CorpusError, match=message), CorpusWriter(path, tokenizer, []) as writer:
            writer.add_many(ids, lengths)
        assert not path.exists()

    def test_a_full_disk_leaves_nothing_behind(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with (
                pytest.raises(OSError, match="too large"),
                CorpusWriter(path, tokenizer, ["en"], overwrite=True) as writer,
            ):
                writer.add([20] * 9000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert os.listdir(path.parent) == ["train.en"]
        assert len(Corpus.open(path)) == 6
