"""Read files of text, also compressed ones, in batches of lines."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import sys
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from xlm_core.errors import InputError, warn

# A batch of long lines ends once it has so many bytes.
_BYTES_A_BATCH = 1 << 20
# What messages call it.
_STDIN = "the standard input"
# How compressed files begin, and the names under which they are read; zip holds several files.
_COMPRESSED = (
    ("gzip", re.compile(rb"\x1f\x8b"), ".gz"),
    ("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), ".bz2"),
    ("xz", re.compile(rb"\xfd7zXZ\0"), ".xz"),
    ("zip", re.compile(rb"PK\x03\x04"), None),
)


@dataclass(frozen=True)
class Batch:
    """Consecutive lines of one file.

    Attributes:
        data: The bytes of the lines; the last line of a file may lack its line feed.
        file: The name of the file.
        line: Number of the first line, counted from 1.
        byte: Number of bytes before the first line.
    """

    data: bytes
    file: str
    line: int
    byte: int

    @property
    def count(self) -> int:
        """Number of lines."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n") and bool(self.data))

    def split(self, lines: int) -> tuple[Batch, Batch]:
        """Its first `lines` lines, or all if it has fewer, and the rest."""
        end = 0
        for _ in range(min(lines, self.count)):
            end = self.data.find(b"\n", end) + 1 or len(self.data)
        first = replace(self, data=self.data[:end])
        rest = replace(
            self, data=self.data[end:], line=self.line + first.count, byte=self.byte + end
        )
        return first, rest

    def lines(self) -> list[str]:
        """The lines, without their line feeds.

        Raises:
            InputError: If they are not UTF-8.
        """
        try:
            lines = self.data.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            before = self.data[: error.start]
            raise InputError(
                f"{self.file} is not UTF-8: line {self.line + before.count(10)}, byte "
                f"{error.start - (before.rfind(10) + 1)} of the line and {self.byte + error.start} "
                f"of the text is 0x{self.data[error.start]:02x} ({error.reason}). Convert it, "
                "with iconv for instance."
            ) from error
        if not lines[-1]:
            lines.pop()
        return lines


class Reader:
    """Reads files in batches of lines.

    Args:
        inputs: Names of files; "-" is the standard input.
        batch_lines: Largest number of lines in a batch.

    Raises:
        InputError: If a file is missing.

    Attributes:
        total: Size of all files in bytes, compressed ones as they are; None if not known.
    """

    def __init__(self, inputs: Iterable[str], batch_lines: int) -> None:
        self._inputs = list(inputs)
        self._batch_lines = batch_lines
        self._before = 0
        self._now: BinaryIO | None = None
        sizes = list(map(_size, self._inputs))
        self.total = None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def done(self) -> int | None:
        """Number of bytes read so far, of `total`; None if not known."""
        if self.total is None:
            return None
        return self._before + (0 if self._now is None else self._now.tell())

    def batches(self) -> Generator[Batch]:
        """Yield the lines of all files in order.

        Raises:
            InputError: If a compressed file is damaged, or has another name than such files have.
        """
        for name in self._inputs:
            shown = _STDIN if name == "-" else name
            try:
                with _raw(name) as raw:
                    self._now = raw
                    yield from self._batches_of(_decompressed(raw, name), shown)
                    self._before = self.done or 0
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                # gzip and bz2 raise an OSError that is none of the system's.
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise InputError(f"{shown} is damaged or incomplete: {error}.") from error
            finally:
                self._now = None

    def _batches_of(self, stream: Iterable[bytes], name: str) -> Iterator[Batch]:
        line, byte, size = 1, 0, 0
        lines: list[bytes] = []
        for each in stream:
            if not byte and not lines:
                _refuse_compressed(each, name)
            if not each.endswith(b"\n") and b"\r" in each[:-1]:
                _warn_of_carriage_returns(name, line + len(lines))
            lines.append(each)
            size += len(each)
            if len(lines) >= self._batch_lines or size >= _BYTES_A_BATCH:
                yield Batch(b"".join(lines), name, line, byte)
                line, byte, size = line + len(lines), byte + size, 0
                lines = []
        if lines:
            yield Batch(b"".join(lines), name, line, byte)


def _refuse_compressed(begin: bytes, name: str) -> None:
    """Raise `InputError` if a text begins as a compressed file."""
    for kind, pattern, suffix in _COMPRESSED:
        if pattern.match(begin):
            can_be_renamed = suffix is not None and name != _STDIN
            rename = f"give it a name that ends in {suffix}, or " if can_be_renamed else ""
            raise InputError(f"{name} is compressed by {kind}: {rename}unpack it.")


def _warn_of_carriage_returns(name: str, line: int) -> None:
    """Warn of what may be many lines, ended as once on the Macintosh."""
    warn(
        f"{name}: line {line} has carriage returns and no line feed, and is taken for one line. If "
        "they end lines, convert them, with tr '\\r' '\\n' for instance."
    )


def refuse_output_that_is_read(
    output: str | os.PathLike[str] | None, inputs: Iterable[str]
) -> None:
    """Refuse to replace a text by what is made of it.

    Args:
        output: The name of a file; None or "-" is the standard output.
        inputs: Names of files; "-" is the standard input.

    Raises:
        InputError: If the output is one of them, under this name or another.
    """
    # Terminals and /dev/null are not replaced, and may be both.
    if output is None or output == "-" or not os.path.isfile(output):
        return
    if any(_is_same_file(name, output) for name in inputs):
        raise InputError(f"{os.fspath(output)} is read too: give the output another name.")


def _is_same_file(name: str, other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samestat(_status(name), os.stat(other))
    except (OSError, ValueError):  # one is missing, which who reads it says
        return False


def _status(name: str) -> os.stat_result:
    return os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)


def _size(name: str) -> int | None:
    """Size of a file in bytes; None if it is no regular file."""
    try:
        found = _status(name)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {name}.") from error
    except (OSError, ValueError):
        if name == "-":
            return None  # no file at all, in tests and notebooks
        raise
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{name} is a folder: give the files in it.")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextmanager
def _raw(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    with open(name, "rb") as file:
        yield file


def _decompressed(raw: BinaryIO, name: str) -> Iterable[bytes]:
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=raw)
    if name.endswith(".xz"):
        return lzma.LZMAFile(raw)
    if name.endswith(".bz2"):
        return bz2.BZ2File(raw)
    return raw
