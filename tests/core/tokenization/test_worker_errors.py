"""Several processes say what went wrong, as one would."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_tokenizer as work
from tests.support.small_tokenizer import small_tokenizer, write_folder
from tests.support.tokenizer_parts import error_as_it_travels
from xlm_core import InputError, XLMTokenizer
from xlm_core.errors import MissingPackageError, UnknownLanguageError, WorkerError
from xlm_core.tokenization.workers.pool import TokenizerPool


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def pool(tokenizer: XLMTokenizer) -> Iterator[TokenizerPool]:
    with TokenizerPool(tokenizer, 2) as pool:
        yield pool


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
        error = MissingPackageError("Texts in 'ja' ...")
        found = error_as_it_travels(error)
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
