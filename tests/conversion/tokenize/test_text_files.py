"""What `xlm tokenize` reads: lines of files, compressed ones and the standard input."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.line_by_line.text_files import Batch, Reader
from tests.conversion.tokenize.tokenize_command import TEXT, error_of, ids, lines_of, run
from tests.support.conversion_tools import end_batches_at


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("text", content)
    return file.getvalue()


class TestRead:
    @pytest.mark.parametrize(
        ("suffix", "open_file"),
        [(".gz", gzip.open), (".xz", lzma.open), (".bz2", bz2.open), (".txt", open)],
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
        end_batches_at(monkeypatch, 6)
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

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize(
        ("kind", "pack", "what_to_do"),
        [
            ("gzip", gzip.compress, "give it a name that ends in .gz, or unpack it"),
            ("bzip2", bz2.compress, "give it a name that ends in .bz2, or unpack it"),
            ("xz", lzma.compress, "give it a name that ends in .xz, or unpack it"),
            ("zip", zipped, "unpack it"),
        ],
    )
    def test_other_names_of_compressed_files(
        self,
        folder: Path,
        tmp_path: Path,
        capsys: Any,
        workers: int,
        kind: str,
        pack: Callable[[bytes], bytes],
        what_to_do: str,
    ) -> None:
        (tmp_path / "text").write_bytes(pack(b"a text\n" * 100))
        assert run(folder, tmp_path / "text", "--workers", workers) == 2
        assert error_of(capsys) == f"{tmp_path / 'text'} is compressed by {kind}: {what_to_do}."

    def test_a_compressed_standard_input(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        packed = io.BytesIO(gzip.compress(TEXT.encode()))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(packed))
        assert run(folder) == 2
        assert error_of(capsys) == "the standard input is compressed by gzip: unpack it."

    def test_texts_that_begin_like_compressed_ones(
        self, folder: Path, tmp_path: Path, capsys: Any
    ) -> None:
        (tmp_path / "text").write_text("BZh9 PK\nBZh1A")
        assert run(folder, tmp_path / "text", "--to", "words", "--quiet") == 0
        assert capsys.readouterr().out == "bzh9 pk\nbzh1a\n"

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("a b\rc\rd\r", 1),
            ("a b\r\nc\rd", 2),
            ("a\r\nb\r\n", None),
            ("a\nb\r", None),
            ("a\rb\nc\n", None),
        ],
    )
    def test_carriage_returns_that_end_lines(
        self, tmp_path: Path, text: str, line: int | None
    ) -> None:
        """Of a file of them alone, all is one line; one within a line of a text is its own."""
        (tmp_path / "text").write_bytes(text.encode())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (batch,) = Reader([str(tmp_path / "text")], 100).batches()
        assert "\n".join(batch.lines()) == text.removesuffix("\n")
        found = [str(each.message) for each in caught]
        said = f"{tmp_path / 'text'}: line {line} has carriage returns and no line feed, and"
        assert [each[: len(said)] for each in found] == ([said] if line else [])

    @pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
    @pytest.mark.parametrize("kept", [0.6, 0])
    def test_damaged_compression(
        self, folder: Path, tmp_path: Path, capsys: Any, suffix: str, kept: float
    ) -> None:
        content = np.random.default_rng(3).integers(97, 105, 4000, dtype=np.uint8).tobytes()
        packed = {".gz": gzip, ".xz": lzma, ".bz2": bz2}[suffix].compress(content)
        whole = packed[: int(len(packed) * kept)] if kept else b"no compressed file"
        (tmp_path / f"text{suffix}").write_bytes(whole)
        assert run(folder, tmp_path / f"text{suffix}") == 2
        assert f"text{suffix} is damaged or incomplete" in error_of(capsys)
