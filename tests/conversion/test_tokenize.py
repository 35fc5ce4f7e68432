"""`xlm tokenize`: line in, line out; what is read, what is written, and how it ends."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conversion import tokenize
from conversion.cli import main
from conversion.tokenize import Batch, Options, Progress, Reader, open_tokenizer, tokenize_files
from tests.support.small_tokenizer import small_tokenizer, write_folder, write_original
from xlm_core import InputError, XLMTokenizer
from xlm_core.corpus import Corpus

ROOT = Path(__file__).resolve().parents[2]
# Only "\n" ends a line; the last one has none.
LINES = ["abc de", "", "<special1> h, ab", "x abc\r", "fg\u2028a\u0085b\x0bc", "ÀBC"]
TEXT = "\n".join(LINES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tokenizer")


@pytest.fixture
def tokenizer(folder: Path) -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "text"
    file.write_bytes(TEXT.encode())
    return file


def run(*arguments: Any) -> int:
    return main(["tokenize", *map(str, arguments), "--lang", "en"])


def lines_of(capsys: Any) -> list[str]:
    out = capsys.readouterr().out
    assert out.endswith("\n") or not out
    return out.split("\n")[:-1]


def ids(tokenizer: XLMTokenizer, lines: list[str] = LINES, **more: Any) -> list[str]:
    more = {"add_special_tokens": False, "lang": "en", **more}
    return [" ".join(map(str, tokenizer.encode(line, **more))) for line in lines]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line.removeprefix("xlm tokenize: ")


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


class TestRead:
    @pytest.mark.parametrize(
        ("suffix", "open_file"), [(".gz", gzip.open), (".xz", lzma.open), (".txt", open)]
    )
    def test_compressed(
        self, folder: Path, tmp_path: Path, tokenizer: Any, capsys: Any, suffix: str, open_file: Any
    ) -> None:
        file = tmp_path / f"text{suffix}"
        with open_file(file, "wb") as stream:
            stream.write(TEXT.encode())
        assert run(folder, file) == 0
        assert lines_of(capsys) == ids(tokenizer)
        out = tmp_path / f"out{suffix}"
        assert run(folder, file, "-o", out) == 0
        with open_file(out, "rb") as stream:
            assert stream.read().decode().split("\n")[:-1] == ids(tokenizer)

    def test_compressed_output_is_reproducible(
        self, folder: Path, source: Path, tmp_path: Path
    ) -> None:
        for name in ("a.gz", "b.gz"):
            assert run(folder, source, "-o", tmp_path / name) == 0
        assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()

    @pytest.mark.parametrize("arguments", [(), ("-",)])
    def test_standard_input(
        self, folder: Path, tokenizer: Any, monkeypatch: Any, capsys: Any, arguments: Any
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
        assert run(folder, *arguments) == 0
        assert lines_of(capsys) == ids(tokenizer)

    def test_nothing(self, folder: Path, tmp_path: Path, capsys: Any) -> None:
        (tmp_path / "empty").write_bytes(b"")
        assert run(folder, tmp_path / "empty") == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("0 lines, 0 ids, 0.000 % unknown; ")

    @pytest.mark.parametrize("text", ["a\n", "a", "\n", "\n\n", "a\n\n", "\na"])
    def test_line_for_line(self, folder: Path, tmp_path: Path, capsys: Any, text: str) -> None:
        (tmp_path / "text").write_text(text)
        assert run(folder, tmp_path / "text", "--to", "words", "--quiet") == 0
        expected = text if text.endswith("\n") else f"{text}\n"
        assert capsys.readouterr().out == expected

    def test_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(b"1\n22\n333\n4444")
        (tmp_path / "b").write_bytes(b"5" * 30 + b"\n6\n7\n")
        monkeypatch.setattr(tokenize, "_BYTES_A_BATCH", 6)
        names = [str(tmp_path / name) for name in "ab"]
        reader = Reader(names, 2)
        assert (reader.done, reader.total) == (0, 13 + 35)
        assert list(reader.batches()) == [
            Batch(b"1\n22\n", names[0], 1, 0),
            Batch(b"333\n4444", names[0], 3, 5),
            Batch(b"5" * 30 + b"\n", names[1], 1, 0),
            Batch(b"6\n7\n", names[1], 2, 31),
        ]
        assert reader.done == reader.total

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize(
        ("before", "bad", "where"),
        [
            (b"", b"\xff", "line 1, byte 0 of the line and 0 of the text is 0xff"),
            (b"a\n", b"b\xe9\nc", "line 2, byte 1 of the line and 3 of the text is 0xe9"),
            (b"\xc3\xa9\n\n" * 900, b"\xed\xa0\x80", "line 1801, byte 0 of the line and 3600"),
            (b"a\n" * 5, b"\xc3", "line 6, byte 0 of the line and 10 of the text is 0xc3"),
        ],
    )
    def test_bad_bytes(
        self,
        folder: Path,
        tmp_path: Path,
        capsys: Any,
        workers: int,
        before: bytes,
        bad: bytes,
        where: str,
    ) -> None:
        (tmp_path / "bad").write_bytes(before + bad)
        out = tmp_path / "out"
        more = ("-o", out, "--workers", workers, "--batch-lines", 100)
        assert run(folder, tmp_path / "bad", *more) == 2
        message = error_of(capsys)
        assert message.startswith(f"{tmp_path / 'bad'} is not UTF-8: {where}")
        assert sorted(os.listdir(tmp_path)) == ["bad", "tokenizer"]

    @pytest.mark.parametrize("suffix", [".gz", ".xz"])
    @pytest.mark.parametrize("kept", [0.6, 0])
    def test_damaged_compression(
        self, folder: Path, tmp_path: Path, capsys: Any, suffix: str, kept: float
    ) -> None:
        content = np.random.default_rng(3).integers(97, 105, 4000, dtype=np.uint8).tobytes()
        packed = (gzip if suffix == ".gz" else lzma).compress(content)
        whole = packed[: int(len(packed) * kept)] if kept else b"no compressed file"
        (tmp_path / f"text{suffix}").write_bytes(whole)
        assert run(folder, tmp_path / f"text{suffix}") == 2
        assert f"text{suffix} is damaged or incomplete" in error_of(capsys)


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
            (["{text}", "-o", "{text}"], "exists: give another name, or --overwrite"),
            (["{text}", "-o", "{tmp}"], "is a folder: give the name of a file"),
            (["{text}", "--to", "corpus", "-o", "{text}"], "exists"),
            (["{text}", "--to", "corpus", "-o", "{text}", "--overwrite"], "is not a corpus"),
            (["{text}", "--max-vocab", "20"], "max_vocab is for the original's"),
        ],
    )
    def test_arguments(
        self, folder: Path, source: Path, capsys: Any, arguments: list[str], message: str
    ) -> None:
        filled = [each.format(tmp=source.parent, text=source) for each in arguments]
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


class TestOutput:
    def test_overwrite(self, folder: Path, source: Path, tokenizer: Any) -> None:
        assert run(folder, source, "-o", source, "--overwrite", "--quiet") == 0
        assert source.read_text().split("\n")[:-1] == ids(tokenizer)
        assert sorted(os.listdir(source.parent)) == ["text", "tokenizer"]

    def test_a_link_stays(self, folder: Path, source: Path, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("before")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert run(folder, source, "-o", tmp_path / "link", "--overwrite", "--quiet") == 0
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_text().startswith("31 32")

    def test_a_device(self, folder: Path, source: Path) -> None:
        assert run(folder, source, "-o", os.devnull, "--quiet") == 0
        assert not Path(os.devnull).is_file()

    def test_quiet(self, folder: Path, source: Path, capsys: Any) -> None:
        assert run(folder, source, "--quiet") == 0
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        ("to", "counts"),
        [
            ("ids", "6 lines, 13 ids, 15.385 % unknown"),
            ("pieces", "6 lines, 13 pieces, 15.385 % unknown"),
            ("words", "6 lines, 11 words"),
        ],
    )
    def test_summary(self, folder: Path, source: Path, capsys: Any, to: str, counts: str) -> None:
        more = () if to == "words" else ("--add-special-tokens",)
        assert run(folder, source, "--to", to, *more) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert re.fullmatch(rf"{re.escape(counts)}; \d+\.\d s, [\d,]+ lines/s", line), line

    def test_an_error_in_the_middle_leaves_the_output(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "bad").write_bytes(b"a\n" * 3000 + b"\xff")
        (tmp_path / "out").write_text("before")
        assert run(folder, tmp_path / "bad", "-o", tmp_path / "out", "--overwrite") == 2
        assert (tmp_path / "out").read_text() == "before"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgress:
    def screen(self, text: str) -> str:
        """What stands on the line in the end."""
        line = ""
        for part in text.split("\r"):
            line = part + line[len(part) :]
        return line.rstrip()

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tokenize, "time", SimpleNamespace(perf_counter=lambda: 100.0))

    def test_of_known_size(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x\n" * 500_000)
        terminal = Terminal()
        reader = Reader([str(tmp_path / "a")], 250_000)
        progress = Progress(terminal, reader, 98.0)
        batches = reader.batches()
        next(batches)
        progress.show(250_000)
        assert re.fullmatch(
            r"\[#{10}-{10}\]  5\d % of 1.0 MB, 250,000 lines, 125,000 lines/s",
            self.screen(terminal.getvalue()),
        )
        progress.show(250_001)
        assert "250,001" not in terminal.getvalue()  # too soon
        progress.clear()
        assert self.screen(terminal.getvalue()) == ""

    def test_of_unknown_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        terminal = Terminal()
        progress = Progress(terminal, Reader(["-"], 1), 99.0)
        progress.show(50)
        assert self.screen(terminal.getvalue()) == "50 lines, 50 lines/s"

    def test_only_on_a_terminal(
        self, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(Progress, "_SECONDS", 0.0)
        for stream, more, shown in (
            (Terminal(), (), True),
            (Terminal(), ("--quiet",), False),
            (io.StringIO(), (), False),
        ):
            monkeypatch.setattr(sys, "stderr", stream)
            assert run(folder, source, "-o", tmp_path / "out", "--overwrite", *more) == 0
            assert ("\r" in stream.getvalue()) == shown

    def test_cleared_before_an_error(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(Progress, "_SECONDS", 0.0)
        (tmp_path / "bad").write_bytes(b"a\n\xff")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        more = ("-o", tmp_path / "out", "--batch-lines", 1)
        assert run(folder, tmp_path / "bad", *more) == 2
        last = self.screen(terminal.getvalue().split("\n")[0])
        assert last.startswith("xlm tokenize: ")


def command(*arguments: Any, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "conversion", "tokenize", *map(str, arguments), "--lang", "en"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


class TestProcess:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_broken_pipe(self, folder: Path, tmp_path: Path, workers: int) -> None:
        (tmp_path / "long").write_text("abc de\n" * 100_000)
        with command(folder, tmp_path / "long", "--workers", workers) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"31 32\n"
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(120) == 0

    def test_piped_text_comes_out_before_its_end(self, folder: Path) -> None:
        with command(folder, "--batch-lines", 1, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"abc\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"31\n"
            process.communicate(timeout=120)
            assert process.returncode == 0

    @pytest.mark.parametrize("to", ["ids", "corpus"])
    def test_interrupted(self, folder: Path, tmp_path: Path, to: str) -> None:
        more = ("-o", tmp_path / "out", "--to", to, "--workers", 2, "--batch-lines", 1)
        with command(folder, *more, stdin=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdin is not None
            process.stdin.write(b"abc\n" * 50)
            process.stdin.flush()
            end = time.monotonic() + 60
            while not list(tmp_path.glob(".out*")) and time.monotonic() < end:
                time.sleep(0.05)
            assert list(tmp_path.glob(".out*"))
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.decode().endswith("xlm tokenize: interrupted\n")
        assert b"Traceback" not in err
        assert os.listdir(tmp_path) == ["tokenizer"]


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
        monkeypatch.setattr(tokenize, "_WORDS_REMEMBERED", 1)
        tokenizer = XLMTokenizer.from_pretrained(folder)
        options = Options("en", to="pieces")
        tokenize_files(tokenizer, [str(source)], str(tmp_path / "out"), options)
        expected = [" ".join(tokenizer.tokenize(line)) for line in LINES]
        assert (tmp_path / "out").read_text().split("\n")[:-1] == expected
        assert tokenize._writer.cache_info().currsize == 0
