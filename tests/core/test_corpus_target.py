"""Where a corpus is written: what may be replaced there, and what stays after an error."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_corpus import write
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMTokenizer
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.errors import CorpusError


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

    def test_a_failed_rename_leaves_it(
        self, path: Path, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(path, tokenizer)
        rename = Path.rename

        def refuse(source: Path, target: Path) -> Path:
            if source.suffix == ".part":
                raise OSError(28, "No space left on device")
            return rename(source, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="No space"):
            write(path, tokenizer, [[20]], overwrite=True)
        assert os.listdir(path.parent) == ["train.en"]
        assert len(Corpus.open(path)) == 6

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
