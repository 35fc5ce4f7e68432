"""`tokenize`: turn files of text into ids, subwords, words or a corpus, line by line."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from conversion.line_by_line.progress import Progress
from conversion.line_by_line.text_files import Batch, Reader, refuse_output_that_is_read
from conversion.tokenize.lines import Converted, convert, writer_of
from conversion.tokenize.options import Options
from conversion.tokenize.sinks import open_sink
from xlm_core.errors import InputError
from xlm_core.tokenization.calls.arguments import check_natural
from xlm_core.tokenization.files.folder import VOCAB_FILE
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.workers.pool import TokenizerPool

BATCH_LINES = 1000


@dataclass(frozen=True)
class Summary:
    """What `tokenize_files` did.

    Attributes:
        lines: Number of lines.
        items: Number of ids, subwords or words, without special tokens around lines.
        unknowns: Number of unknown ones; None for words.
        left_out: Number of special tokens in the texts, which a corpus leaves out.
        seconds: The time it took.
        to: What was written, one of `TARGETS`.
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
    """Open the tokenizer in a folder.

    Args:
        folder: A folder with vocab.json and merges.txt, or with the original's files.
        mode: Whose ids to give; default: what the folder is made for.
        max_vocab: Number of words to keep of the original's vocabulary; default: all.

    Raises:
        TokenizerError: If the folder cannot be used.
        InputError: If `max_vocab` is given for files that are not the original's.
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
    """Tokenize files of text, one line of output for each line of input.

    Args:
        tokenizer: The tokenizer.
        inputs: UTF-8 files, also compressed (.gz, .xz, .bz2); "-" is the standard input, which is
            also read if there are no inputs. Only a line feed ends a line.
        output: A file, compressed if its name ends in .gz, .xz or .bz2, or the folder of a corpus;
            None or "-" is the standard output. It is written under another name and renamed at
            the end.
        options: What becomes of a line.
        workers: Number of processes.
        batch_lines: Number of lines that are processed together.
        overwrite: Whether to replace what is at `output`.
        terminal: Where to show the progress; None shows nothing.

    Raises:
        InputError: If an input is missing or not UTF-8, the output exists or is read too, or the
            options contradict each other.
        CorpusError: If the corpus cannot be written.
    """
    start = time.perf_counter()
    options.check(tokenizer)
    check_natural("workers", workers, 1)
    check_natural("batch_lines", batch_lines, 1)
    inputs = inputs or ("-",)
    reader = Reader(inputs, batch_lines)
    refuse_output_that_is_read(output, inputs)
    lines = items = unknowns = 0
    progress = Progress(terminal, reader, start)
    try:
        with (
            open_sink(tokenizer, output, options, overwrite) as sink,
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
        writer_of.cache_clear()
    return Summary(
        lines=lines,
        items=items,
        unknowns=None if options.to == "words" else unknowns,
        left_out=sink.left_out,
        seconds=time.perf_counter() - start,
        to=options.to,
    )


def _converted(
    tokenizer: XLMTokenizer, work: Iterator[tuple[Options, Batch]], workers: int
) -> Generator[Converted]:
    if workers == 1:
        for item in work:
            yield convert(tokenizer, item)
        return
    with TokenizerPool(tokenizer, workers) as pool:
        yield from pool.run(convert, work)
