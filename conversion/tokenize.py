"""`tokenize`: files of text to ids, subwords, words or a corpus, line by line."""

from __future__ import annotations

import functools
import gzip
import lzma
import os
import shutil
import stat
import sys
import time
import zlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from xlm_core.corpus import CorpusWriter
from xlm_core.errors import InputError
from xlm_core.tokenization.batch_options import check_natural
from xlm_core.tokenization.bpe import END_OF_WORD
from xlm_core.tokenization.files import VOCAB_FILE
from xlm_core.tokenization.parallel import TokenizerPool
from xlm_core.tokenization.tokenizer import XLMTokenizer

TARGETS = ("ids", "pieces", "words", "corpus")
BATCH_LINES = 1000

# Lines may be long; a batch of such ends before it has as many as were asked for.
_BYTES_A_BATCH = 1 << 20
# Words whose subwords are remembered; about 200 bytes each.
_WORDS_REMEMBERED = 100_000


@dataclass(frozen=True)
class Options:
    """What becomes of a line.

    Attributes:
        lang: Its language.
        to: "ids", "pieces", "words" or "corpus".
        add_special_tokens: Frame ids and pieces as the tokenizer does.
        max_length: Cut what is written for a line to so many; None for no limit.
    """

    lang: str
    to: str = "ids"
    add_special_tokens: bool = False
    max_length: int | None = None

    def check(self, tokenizer: XLMTokenizer) -> None:
        """Refuse what cannot be, before anything is read or written.

        Raises:
            InputError: The options contradict each other.
            UnknownLanguageError: The tokenizer does not know `lang`.
        """
        if self.to not in TARGETS:
            raise InputError(f"to={self.to!r} is not known: expected one of {', '.join(TARGETS)}.")
        if self.add_special_tokens and self.to in ("words", "corpus"):
            raise InputError(
                "Special tokens are added to ids and pieces; words have none, and a corpus ends "
                "each sentence in </s> by itself."
            )
        check_natural("max_length", self.max_length, 1)
        framing = tokenizer.num_special_tokens_to_add() if self.add_special_tokens else 0
        if self.max_length is not None and self.max_length < framing:
            raise InputError(
                f"max_length is {self.max_length}, but the special tokens alone need {framing}."
            )
        # Also asks for the package that a language may need.
        tokenizer.tokenize("", lang=self.lang)


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        lines: Number of lines.
        items: Ids, subwords or words of them, special tokens around them not counted.
        unknowns: How many of them are unknown; None for words.
        left_out: Special tokens of the texts that a corpus leaves out.
        seconds: The time it took.
        to: What was written.
    """

    lines: int
    items: int
    unknowns: int | None
    left_out: int
    seconds: float
    to: str

    def text(self) -> str:
        """One line."""
        name = "ids" if self.to == "corpus" else self.to
        parts = [f"{self.lines:,} lines", f"{self.items:,} {name}"]
        if self.unknowns is not None:
            parts.append(f"{100 * self.unknowns / max(self.items, 1):.3f} % unknown")
        if self.left_out:
            parts.append(f"{self.left_out:,} special tokens left out")
        rate = self.lines / max(self.seconds, 1e-9)
        return f"{', '.join(parts)}; {self.seconds:.1f} s, {rate:,.0f} lines/s"


def open_tokenizer(
    folder: str, *, mode: str | None = None, max_vocab: int | None = None
) -> XLMTokenizer:
    """Open a folder of a tokenizer.

    Args:
        folder: With vocab.json and merges.txt, or with the original's files.
        mode: In place of the folder's.
        max_vocab: Of the original's files: keep so many words.

    Raises:
        TokenizerError: The folder cannot be used.
        InputError: `max_vocab` for other files than the original's.
    """
    arguments: dict[str, Any] = {} if mode is None else {"mode": mode}
    if max_vocab is not None:
        if (Path(folder) / VOCAB_FILE).exists():
            raise InputError(
                f"max_vocab is for the original's vocabulary; {folder} has {VOCAB_FILE}, where "
                "the ids are as the model has them. Leave it out."
            )
        arguments["max_vocab"] = max_vocab
    return XLMTokenizer.from_pretrained(folder, **arguments)


def tokenize_files(
    tokenizer: XLMTokenizer,
    inputs: Sequence[str],
    output: str | None,
    options: Options,
    *,
    workers: int = 1,
    batch_lines: int = BATCH_LINES,
    overwrite: bool = False,
    terminal: TextIO | None = None,
) -> Summary:
    """Tokenize files, one line of output for each line of input.

    Args:
        tokenizer: The tokenizer.
        inputs: Files of UTF-8, also compressed (.gz, .xz); "-" is the standard input, which is
            also read if there are none. Only a line feed ends a line.
        output: A file, compressed if named .gz or .xz, or the folder of a corpus; None or "-" is
            the standard output. Written beside its place, where it comes to be at the end.
        options: What is written.
        workers: Number of processes.
        batch_lines: Lines that are worked on together.
        overwrite: Replace what is at `output`.
        terminal: Where to show the progress; None for nowhere.

    Raises:
        InputError: An input is missing or not UTF-8, the output exists, or the options make no
            sense.
        CorpusError: The corpus cannot be written.
    """
    start = time.perf_counter()
    options.check(tokenizer)
    check_natural("workers", workers, 1)
    check_natural("batch_lines", batch_lines, 1)
    inputs = inputs or ("-",)
    reader = Reader(inputs, batch_lines)
    lines = items = unknowns = 0
    progress = Progress(terminal, reader, start)
    try:
        with (
            _sink(tokenizer, output, options, overwrite) as sink,
            closing(reader.batches()) as batches,
            closing(
                _converted(tokenizer, ((options, batch) for batch in batches), workers)
            ) as results,
        ):
            for result in results:
                sink.write(result)
                lines += result.lines
                items += result.items
                unknowns += result.unknowns
                progress.show(lines)
    finally:
        progress.clear()
        _writer.cache_clear()
    return Summary(
        lines=lines,
        items=items,
        unknowns=None if options.to == "words" else unknowns,
        left_out=sink.left_out,
        seconds=time.perf_counter() - start,
        to=options.to,
    )


# -- reading --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Some lines of one file.

    Attributes:
        data: The lines as they are there; the last of the file may lack its line feed.
        file: The name of the file.
        line: Number of the first line, from 1.
        byte: How many bytes come before it.
    """

    data: bytes
    file: str
    line: int
    byte: int

    def lines(self) -> list[str]:
        """The lines, without their line feeds.

        Raises:
            InputError: They are not UTF-8.
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
    """Reads files as batches of lines.

    Args:
        inputs: Names of files; "-" is the standard input.
        batch_lines: Most lines a batch.

    Raises:
        InputError: A file is missing.

    Attributes:
        total: Bytes of all files, compressed as they are; None if not known.
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
        """How many of these bytes were read; None if not known."""
        if self.total is None:
            return None
        return self._before + (0 if self._now is None else self._now.tell())

    def batches(self) -> Generator[Batch]:
        """The lines of all files in their order.

        Raises:
            InputError: A compressed file is damaged.
        """
        for name in self._inputs:
            shown = "the standard input" if name == "-" else name
            try:
                with _raw(name) as raw:
                    self._now = raw
                    yield from self._batches_of(_decompressed(raw, name), shown)
                    self._before = self.done or 0
            except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
                raise InputError(f"{shown} is damaged or incomplete: {error}.") from error
            finally:
                self._now = None

    def _batches_of(self, stream: Iterable[bytes], name: str) -> Iterator[Batch]:
        line, byte, size = 1, 0, 0
        lines: list[bytes] = []
        for each in stream:
            lines.append(each)
            size += len(each)
            if len(lines) >= self._batch_lines or size >= _BYTES_A_BATCH:
                yield Batch(b"".join(lines), name, line, byte)
                line, byte, size = line + len(lines), byte + size, 0
                lines = []
        if lines:
            yield Batch(b"".join(lines), name, line, byte)


def _size(name: str) -> int | None:
    """Bytes of a file; None for what is no regular file."""
    try:
        found = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
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
    return raw


# -- converting -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Converted:
    """What became of a batch.

    Attributes:
        lines: Number of lines.
        items: Ids, subwords or words, without special tokens around them.
        unknowns: How many of them are unknown.
        output: The lines to write; empty for a corpus.
        lengths: For a corpus `(lines,)` int32: number of ids of each line.
        ids: For a corpus `(ids,)` int32: all of them.
    """

    lines: int
    items: int
    unknowns: int
    output: bytes
    lengths: array[int] | None = None
    ids: array[int] | None = None


def _converted(
    tokenizer: XLMTokenizer, work: Iterator[tuple[Options, Batch]], workers: int
) -> Generator[Converted]:
    if workers == 1:
        for item in work:
            yield convert(tokenizer, item)
        return
    with TokenizerPool(tokenizer, workers) as pool:
        yield from pool.run(convert, work)


def convert(tokenizer: XLMTokenizer, work: tuple[Options, Batch]) -> Converted:
    """Convert one batch; this is what a worker process runs."""
    options, batch = work
    lines = batch.lines()
    if options.to in ("ids", "corpus"):
        return _convert_to_ids(tokenizer, options, lines)
    return _writer(tokenizer, options).convert(lines)


def _convert_to_ids(tokenizer: XLMTokenizer, options: Options, lines: list[str]) -> Converted:
    rows: list[list[int]] = tokenizer(
        lines,
        lang=options.lang,
        add_special_tokens=options.add_special_tokens,
        truncation=options.max_length is not None,
        max_length=options.max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    unknown = tokenizer.unk_token_id
    unknowns = 0 if unknown is None else sum(row.count(unknown) for row in rows)
    framing = tokenizer.num_special_tokens_to_add() if options.add_special_tokens else 0
    items = sum(map(len, rows)) - framing * len(rows)
    if options.to == "corpus":
        lengths = array("i", map(len, rows))
        ids = array("i", chain.from_iterable(rows))
        return Converted(len(rows), items, unknowns, b"", lengths, ids)
    output = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    return Converted(len(rows), items, unknowns, output.encode("ascii"))


class _Writer:
    """Words or subwords of lines, as text.

    Args:
        tokenizer: The tokenizer.
        options: What is written.
    """

    def __init__(self, tokenizer: XLMTokenizer, options: Options) -> None:
        self._tokenizer = tokenizer
        self._lang = options.lang
        self._sections = tokenizer._sections
        self._words = tokenizer._path(options.lang).pipeline.words
        self._encoder = tokenizer._encoder
        self._unknown = tokenizer.unk_token_id
        self._pieces = options.to == "pieces"
        self._original = tokenizer.mode == "original"
        self._left = tokenizer.truncation_side == "left"
        self._limit = options.max_length
        self._before: list[str] = []
        self._after: list[str] = []
        if options.add_special_tokens:
            frame = tokenizer.build_inputs_with_special_tokens([])
            before, after = tokenizer.convert_ids_to_tokens(frame)
            self._before, self._after = [before], [after]
            if self._limit is not None:
                self._limit -= len(frame)
        self._remembered: dict[str, list[tuple[str, bool]]] = {}

    def convert(self, lines: list[str]) -> Converted:
        written: list[str] = []
        items = unknowns = 0
        for line in lines:
            row = self._pieces_of(line) if self._pieces else self._words_of(line)
            if self._limit is not None and len(row) > self._limit:
                row = row[len(row) - self._limit :] if self._left else row[: self._limit]
            items += len(row)
            unknowns += sum(unknown for _, unknown in row)
            texts = (text for text, _ in row)
            written.append(" ".join((*self._before, *texts, *self._after)) + "\n")
        return Converted(len(lines), items, unknowns, "".join(written).encode("utf-8"))

    def _words_of(self, line: str) -> list[tuple[str, bool]]:
        return [(word, False) for word in self._tokenizer.words(line, lang=self._lang)]

    def _pieces_of(self, line: str) -> list[tuple[str, bool]]:
        """The subwords of a line, and whether each is unknown."""
        row: list[tuple[str, bool]] = []
        for part, added in self._sections(line, False, None):
            if added is not None:
                row.append((added.content, False))
            else:
                row += chain.from_iterable(map(self._pieces_of_word, self._words(part)))
        return row

    def _pieces_of_word(self, word: str) -> list[tuple[str, bool]]:
        found = self._remembered.get(word)
        if found is None:
            pieces = self._encoder.pieces(word)
            unknown = [self._encoder.id_of(piece) == self._unknown for piece in pieces]
            if self._original:
                last = pieces.pop().removesuffix(END_OF_WORD)
                pieces = [*(f"{piece}@@" for piece in pieces), last]
            if len(self._remembered) >= _WORDS_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[word] = list(zip(pieces, unknown, strict=True))
        return found


@functools.lru_cache(maxsize=1)
def _writer(tokenizer: XLMTokenizer, options: Options) -> _Writer:
    # A worker gets one batch after the other, and remembers words from each to the next.
    return _Writer(tokenizer, options)


# -- writing --------------------------------------------------------------------------------


class _Sink:
    """Where results go.

    Args:
        write: Takes each of them.
    """

    def __init__(self, write: Callable[[Converted], Any]) -> None:
        self.write = write
        self.left_out = 0


@contextmanager
def _sink(
    tokenizer: XLMTokenizer, output: str | None, options: Options, overwrite: bool
) -> Iterator[_Sink]:
    if options.to == "corpus":
        with _corpus_sink(tokenizer, output, options, overwrite) as sink:
            yield sink
    elif output in (None, "-"):
        stream = sys.stdout.buffer

        def write(result: Converted) -> None:
            stream.write(result.output)
            stream.flush()  # what reads it may be waiting

        sys.stdout.flush()
        yield _Sink(write)
    else:
        assert output is not None
        with _written(Path(output), overwrite) as file:
            yield _Sink(lambda result: file.write(result.output))


@contextmanager
def _corpus_sink(
    tokenizer: XLMTokenizer, output: str | None, options: Options, overwrite: bool
) -> Iterator[_Sink]:
    if output in (None, "-"):
        raise InputError("A corpus is a folder: give its name with -o.")
    assert output is not None

    def write(result: Converted) -> None:
        assert result.ids is not None and result.lengths is not None
        writer.add_many(np.asarray(result.ids), np.asarray(result.lengths))

    with CorpusWriter(output, tokenizer, [options.lang], overwrite=overwrite) as writer:
        sink = _Sink(write)
        yield sink
        sink.left_out = writer.left_out


@contextmanager
def _written(path: Path, overwrite: bool) -> Iterator[Any]:
    """A file to write to, which comes to be at `path` if all goes well."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file.")
    if path.exists() and not path.is_file():  # a device or a pipe cannot be replaced
        with path.open("wb") as file:
            yield file
        return
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: give another name, or --overwrite.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as raw, _compressed(raw, path.name) as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _compressed(raw: BinaryIO, name: str) -> Iterator[Any]:
    if name.endswith(".gz"):
        # Without name and time: the same texts give the same file.
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
            yield zipped
    elif name.endswith(".xz"):
        with lzma.LZMAFile(raw, "wb") as packed:
            yield packed
    else:
        yield raw


# -- showing --------------------------------------------------------------------------------


class Progress:
    """One line on a terminal that is written anew as work goes on.

    Args:
        terminal: Where; None for nowhere.
        reader: Knows how much was read.
        start: When work began, of `time.perf_counter`.
    """

    _SECONDS = 0.2  # between two times
    _WIDTH = 20  # of the bar

    def __init__(self, terminal: TextIO | None, reader: Reader, start: float) -> None:
        self._terminal = terminal
        self._reader = reader
        self._start = start
        self._last = 0.0
        self._shown = 0

    def show(self, lines: int) -> None:
        """Write the line, unless that was done just before."""
        now = time.perf_counter()
        if self._terminal is None or now - self._last < self._SECONDS:
            return
        self._last = now
        text = f"{lines:,} lines, {lines / max(now - self._start, 1e-9):,.0f} lines/s"
        done, total = self._reader.done, self._reader.total
        if done is not None and total:
            share = min(done / total, 1.0)
            bar = ("#" * round(self._WIDTH * share)).ljust(self._WIDTH, "-")
            text = f"[{bar}] {100 * share:3.0f} % of {total / 1e6:,.1f} MB, {text}"
        text = text[: shutil.get_terminal_size().columns - 1]
        self._write(text)
        self._shown = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("")
            self._shown = 0

    def _write(self, text: str) -> None:
        assert self._terminal is not None
        blanks = " " * (self._shown - len(text))
        self._terminal.write(f"\r{text}{blanks}" + ("" if text else "\r"))
        self._terminal.flush()
