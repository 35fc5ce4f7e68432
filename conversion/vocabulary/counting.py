"""Count the words of files in several languages, of which small ones are read more often."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from conversion.line_by_line.progress import Progress
from conversion.line_by_line.text_files import Reader
from xlm_core.errors import InputError, warn
from xlm_core.subwords import WordCounts, sentences_to_read
from xlm_core.tokenization.text.languages import KNOWN_LANGUAGES
from xlm_core.tokenization.text.segmenters import SEGMENTERS, segmenter_for

_BATCH_LINES = 1000
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class TextOptions:
    """How texts are read and split into words.

    Attributes:
        alpha: Exponent of the languages' shares, as in `sentences_to_read`.
        mode: Of the tokenizer: "v4", "v5" or "original".
        lowercase: Lowercase words and remove their accents.
        seed: Draws which sentences are read once more; from 0 to `LARGEST_SEED`.
    """

    alpha: float = 0.5
    mode: str = "original"
    lowercase: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Counted:
    """The words of some files.

    Attributes:
        words: How often each was seen.
        sentences: How many each language has: lines that are not blank.
        read: How many of each were counted, those that were read twice counting twice.
    """

    words: Mapping[str, int]
    sentences: Mapping[str, int]
    read: Mapping[str, int]


def count_words(
    files: Mapping[str, Sequence[str]], options: TextOptions, *, terminal: TextIO | None = None
) -> Counted:
    """Count the words of files, in memory that grows with the number of different words alone.

    A language that is to be read more often than once is read whole as many times as fit, and for
    the rest a sample of its sentences is drawn.

    Args:
        files: Those of each language: UTF-8, also .gz, .xz or .bz2.
        options: How they are read.
        terminal: Where to show the progress; None shows nothing.

    Raises:
        InputError: If a file is missing, or not UTF-8.
        TokenizerError: If a language has no text.
    """
    if any("-" in names for names in files.values()):
        raise InputError("the standard input was given, but texts are read twice: give files.")
    for names in files.values():
        for name in names:
            if Reader([name], _BATCH_LINES).total is None:
                raise InputError(f"{name} is a pipe, but texts are read twice: give files.")
    for language in files:
        if (segmenter := segmenter_for(language)) is not None:
            segmenter.split("")  # what it needs is missed before hours of reading
    sentences = {
        language: sum(1 for _ in _sentences(names, terminal)) for language, names in files.items()
    }
    read = sentences_to_read(sentences, options.alpha)
    for language in files:
        _warn_of_varieties(language)
    counts = WordCounts(options.mode, lowercase=options.lowercase)
    changed = "{} changed while it was read: texts are read twice. Begin anew."
    for number, (language, names) in enumerate(files.items()):
        generator = np.random.Generator(np.random.Philox(key=[options.seed, number]))
        times = _times(sentences[language], read[language], generator)
        for text in _sentences(names, terminal):
            if (often := next(times, None)) is None:
                raise InputError(changed.format(", ".join(names)))
            counts.add(text, language, often)
        if next(times, None) is not None:
            raise InputError(changed.format(", ".join(names)))
    for word in [each for each in counts.counts if each.split() != [each] or "@@" in each]:
        # Of Thai, with no-break spaces or the mark of subwords: the files cannot hold it.
        del counts.counts[word]
    return Counted(counts.counts, sentences, read)


def _warn_of_varieties(language: str) -> None:
    """Warn of a name such as zh-tw, whose text no segmenter splits, for there is one of zh."""
    base = re.split("[-_]", language.lower())[0]
    if language not in KNOWN_LANGUAGES | SEGMENTERS.keys() and base in SEGMENTERS:
        warn(
            f"texts of {language!r} are split at blanks: the segmenter is that of {base!r}, by "
            f"this name alone. Call the language {base}, or give texts with blanks between words."
        )


def _times(sentences: int, read: int, generator: np.random.Generator) -> Iterator[int]:
    """How often each sentence is counted, so that all together are `read`."""
    passes, wanted = divmod(read, sentences)
    for left in range(sentences, 0, -1):
        # Each of those left is chosen with the same probability.
        chosen = generator.random() * left < wanted
        wanted -= chosen
        yield passes + chosen


def _sentences(names: Sequence[str], terminal: TextIO | None) -> Iterator[str]:
    """The lines of files that are not blank."""
    reader = Reader(names, _BATCH_LINES)
    progress = Progress(terminal, reader, time.perf_counter())
    lines = 0
    try:
        with closing(reader.batches()) as batches:
            for batch in batches:
                for line in batch.lines():
                    lines += 1
                    if line.strip():
                        yield line
                progress.show(lines)
    finally:
        progress.clear()
