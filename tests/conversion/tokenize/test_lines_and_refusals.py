"""`xlm tokenize`: line in, line out; what is written, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.cli import main
from conversion.tokenize import Options, open_tokenizer, tokenize_files
from tests.conversion.tokenize.tokenize_command import LINES, TEXT, error_of, ids, lines_of, run
from tests.support.conversion_tools import remember_words, writers_remembered
from tests.support.small_tokenizer import small_tokenizer, write_folder, write_original
from xlm_core import InputError, XLMTokenizer
from xlm_core.corpus import Corpus


class TestWritten:
    def test_ids(self, folder: Path, source: Path, tokenizer: Any, capsys: Any) -> None:
        assert run(folder, source) == 0
        assert lines_of(capsys) == ids(tokenizer)

    @pytest.mark.parametrize("mode", ["v4", "v5", "original"])
    def test_modes(self, folder: Path, source: Path, capsys: Any, mode: str) -> None:
        assert run(folder, source, "--mode", mode, "--add-special-tokens", "--to", "ids") == 0
        tokenizer = XLMTokenizer.from_pretrained(folder, mode=mode)
        found = lines_of(capsys)
        assert found == ids(tokenizer, add_special_tokens=True)
        assert found[1] == ("1 1" if mode == "original" else "0 1")

    def test_pieces(self, folder: Path, source: Path, tokenizer: Any, capsys: Any) -> None:
        assert run(folder, source, "--to", "pieces") == 0
        expected = [" ".join(tokenizer.tokenize(line, lang="en")) for line in LINES]
        assert lines_of(capsys) == expected
        assert expected[0] == "abc</w> de</w>"

    def test_pieces_of_the_original(self, folder: Path, tmp_path: Path, capsys: Any) -> None:
        (tmp_path / "text").write_text("abcd ab <special1> h\n")
        arguments = (folder, tmp_path / "text", "--to", "pieces", "--mode", "original")
        assert run(*arguments) == 0
        assert run(*arguments, "--add-special-tokens", "--max-length", 5) == 0
        assert lines_of(capsys) == ["ab@@ c@@ d a@@ b <special1> h", "</s> ab@@ c@@ d </s>"]

    def test_words(self, folder: Path, source: Path, capsys: Any) -> None:
        assert run(folder, source, "--to", "words") == 0
        assert lines_of(capsys) == ["abc de", "", "<special1> h , ab", "x abc", "fg abc", "abc"]

    @pytest.mark.parametrize("to", ["ids", "pieces", "words"])
    @pytest.mark.parametrize("side", ["right", "left"])
    def test_cut(self, tmp_path: Path, capsys: Any, to: str, side: str) -> None:
        folder = write_folder(tmp_path / "files", truncation_side=side)
        (tmp_path / "text").write_text("a h d\na\n")
        assert run(folder, tmp_path / "text", "--to", to, "--max-length", 2) == 0
        found = lines_of(capsys)
        tokenizer = XLMTokenizer.from_pretrained(folder)
        text = {"right": "a h", "left": "h d"}[side]
        assert (
            found[0]
            == {
                "ids": ids(tokenizer, [text])[0],
                "pieces": " ".join(f"{word}</w>" for word in text.split()),
                "words": text,
            }[to]
        )
        assert len(found[1].split()) == 1

    @pytest.mark.parametrize("to", ["ids", "pieces"])
    def test_cut_with_special_tokens(self, folder: Path, tmp_path: Path, to: str) -> None:
        (tmp_path / "text").write_text("a h d\n")
        more = ("--to", to, "--max-length", 4, "--add-special-tokens", "-o", tmp_path / "out")
        assert run(folder, tmp_path / "text", *more) == 0
        first, *inner, last = (tmp_path / "out").read_text().split()
        assert (first, len(inner), last) == (("0", 2, "1") if to == "ids" else ("<s>", 2, "</s>"))

    @pytest.mark.parametrize("workers", [1, 2])
    def test_corpus(
        self, folder: Path, source: Path, tokenizer: Any, tmp_path: Path, workers: int, capsys: Any
    ) -> None:
        more = ("--workers", workers, "--batch-lines", 2)
        assert run(folder, source, source, "--to", "corpus", "-o", tmp_path / "c", *more) == 0
        corpus = Corpus.open(tmp_path / "c", tokenizer)
        # The special token of the third line is left out.
        expected = [[i for i in map(int, row.split()) if i != 5] for row in ids(tokenizer)]
        assert [row.tolist() for row in corpus] == expected * 2
        assert corpus.info.languages == ("en",)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "12 lines" in captured.err
        assert "2 special tokens left out" in captured.err

    def test_corpus_of_cut_lines(self, folder: Path, source: Path, tmp_path: Path) -> None:
        assert run(folder, source, "--to", "corpus", "-o", tmp_path / "c", "--max-length", 1) == 0
        assert np.diff(Corpus.open(tmp_path / "c").positions).max() == 1

    @pytest.mark.parametrize("to", ["ids", "pieces", "words"])
    @pytest.mark.parametrize("batch_lines", [1, 4, 1000])
    def test_workers_and_batches_change_nothing(
        self, folder: Path, source: Path, tmp_path: Path, to: str, batch_lines: int
    ) -> None:
        found = []
        for workers in (1, 2):
            out = tmp_path / f"out{workers}"
            more = ("--to", to, "--workers", workers, "--batch-lines", batch_lines, "-o", out)
            assert run(folder, source, source, *more) == 0
            found.append(out.read_bytes())
        assert found[0] == found[1]
        assert found[0].count(b"\n") == 2 * len(LINES)

    def test_original_files(self, tmp_path: Path, source: Path, capsys: Any) -> None:
        original = write_original(tmp_path / "original")
        assert run(original, source, "--quiet") == 0
        tokenizer = XLMTokenizer.from_pretrained(original)
        assert tokenizer.mode == "original"
        assert lines_of(capsys) == ids(tokenizer)
        assert run(original, source, "--max-vocab", 16, "--quiet") == 0
        assert lines_of(capsys)[0] == "3 3"

    def test_a_language_with_rules_of_its_own(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("d'a h'a\n")
        for lang, expected in (("fr", "d' a h' a\n"), ("en", "d 'a h 'a\n")):
            out = tmp_path / lang
            arguments = [str(folder), str(tmp_path / "text"), "-o", str(out), "--to", "words"]
            assert main(["tokenize", *arguments, "--lang", lang]) == 0
            assert out.read_text() == expected


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent"], "There is no file absent."),
            (["{tmp}"], "is a folder: give the files in it"),
            (["{text}", "--workers", "0"], "workers=0"),
            (["{text}", "--batch-lines", "0"], "batch_lines=0"),
            (["{text}", "--max-length", "0"], "max_length=0"),
            (["{text}", "--max-length", "1", "--add-special-tokens"], "alone need 2"),
            (["{text}", "--to", "words", "--add-special-tokens"], "words have none"),
            (["{text}", "--to", "corpus"], "A corpus is a folder"),
            (["{text}", "--to", "corpus", "-o", "-"], "A corpus is a folder"),
            (["{text}", "-o", "{other}"], "exists: give another name, or --overwrite"),
            (["{text}", "-o", "{text}", "--overwrite"], "text is read too: give the output"),
            (["{text}", "-o", "{tmp}"], "is a folder: give the name of a file"),
            (["{text}", "--to", "corpus", "-o", "{other}"], "exists"),
            (["{text}", "--to", "corpus", "-o", "{other}", "--overwrite"], "is not a corpus"),
            (["{text}", "--max-vocab", "20"], "max_vocab is for the original's"),
        ],
    )
    def test_arguments(
        self, folder: Path, source: Path, capsys: Any, arguments: list[str], message: str
    ) -> None:
        other = source.with_name("other")
        other.write_text("another text")
        filled = [each.format(tmp=source.parent, text=source, other=other) for each in arguments]
        assert run(folder, *filled) == 2
        assert message in error_of(capsys)
        assert source.read_bytes() == TEXT.encode()

    def test_unknown_language(self, folder: Path, source: Path, capsys: Any) -> None:
        assert main(["tokenize", str(folder), str(source), "--lang", "xx"]) == 2
        assert re.match(r"Unknown language 'xx'.*: af, als, am, .*zh_yue\.", error_of(capsys))

    def test_unknown_target(self, tokenizer: Any) -> None:
        with pytest.raises(InputError, match="to='bytes'"):
            Options("en", to="bytes").check(tokenizer)

    @pytest.mark.parametrize("arguments", [["x"], ["x", "--lang", "en", "--to", "bytes"]])
    def test_parser(self, arguments: list[str], capsys: Any) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["tokenize", *arguments])
        assert caught.value.code == 2

    def test_no_tokenizer(self, tmp_path: Path, source: Path, capsys: Any) -> None:
        assert run(tmp_path / "absent", source) == 2
        assert error_of(capsys).startswith("There is no folder")


class TestFunctions:
    def test_open_tokenizer(self, folder: Path) -> None:
        assert open_tokenizer(str(folder)).mode == "v4"
        assert open_tokenizer(str(folder), mode="v5").mode == "v5"

    def test_summary(self, folder: Path, source: Path, tmp_path: Path) -> None:
        tokenizer = small_tokenizer(folder, mode="original")
        options = Options("en", to="words", max_length=1)
        summary = tokenize_files(tokenizer, [str(source)], str(tmp_path / "out"), options)
        assert (summary.lines, summary.items, summary.unknowns) == (6, 5, None)

    def test_what_is_remembered_is_let_go(
        self, folder: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remember_words(monkeypatch, 1)
        tokenizer = XLMTokenizer.from_pretrained(folder)
        options = Options("en", to="pieces")
        tokenize_files(tokenizer, [str(source)], str(tmp_path / "out"), options)
        expected = [" ".join(tokenizer.tokenize(line)) for line in LINES]
        assert (tmp_path / "out").read_text().split("\n")[:-1] == expected
        assert writers_remembered() == 0
