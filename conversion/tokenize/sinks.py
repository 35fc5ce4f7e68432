"""Write results to the standard output, a file, a compressed file, or a corpus."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from conversion.line_by_line.output import written
from conversion.tokenize.lines import Converted
from conversion.tokenize.options import Options
from xlm_core.corpus import CorpusWriter
from xlm_core.errors import InputError
from xlm_core.tokenization.tokenizer import XLMTokenizer


class Sink:
    """Takes results and writes them.

    Args:
        write: Called with each result.

    Attributes:
        left_out: Number of special tokens that a corpus has left out; known at the end.
    """

    def __init__(self, write: Callable[[Converted], Any]) -> None:
        self.write = write
        self.left_out = 0


@contextmanager
def open_sink(
    tokenizer: XLMTokenizer, output: str | None, options: Options, overwrite: bool
) -> Iterator[Sink]:
    """Open where results go; a file or a corpus appears at `output` only if nothing fails."""
    if options.to == "corpus":
        with _corpus_sink(tokenizer, output, options, overwrite) as sink:
            yield sink
    elif output in (None, "-"):
        stream = sys.stdout.buffer

        def write(result: Converted) -> None:
            stream.write(result.output)
            stream.flush()  # the reader may be waiting

        sys.stdout.flush()
        yield Sink(write)
    else:
        assert output is not None
        with written(Path(output), overwrite) as file:
            yield Sink(lambda result: file.write(result.output))


@contextmanager
def _corpus_sink(
    tokenizer: XLMTokenizer, output: str | None, options: Options, overwrite: bool
) -> Iterator[Sink]:
    if output in (None, "-"):
        raise InputError("A corpus is a folder: give its name with -o.")
    assert output is not None

    def write(result: Converted) -> None:
        assert result.ids is not None and result.lengths is not None
        writer.add_many(np.asarray(result.ids), np.asarray(result.lengths))

    with CorpusWriter(output, tokenizer, [options.lang], overwrite=overwrite) as writer:
        sink = Sink(write)
        yield sink
        sink.left_out = writer.left_out
