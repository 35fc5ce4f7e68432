"""Turn a batch of lines into ids, subwords or words."""

from __future__ import annotations

import functools
from array import array
from dataclasses import dataclass
from itertools import chain

from conversion.line_by_line.text_files import Batch
from conversion.tokenize.options import Options
from xlm_core.tokenization.text_encoder import TextOptions
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD

# Number of words whose subwords are remembered, at about 200 bytes each.
_WORDS_REMEMBERED = 100_000
# Longer words are rare, and would take memory without bound.
_LONGEST_REMEMBERED = 64


@dataclass(frozen=True)
class Converted:
    """What became of a batch of lines.

    Attributes:
        lines: Number of lines.
        items: Number of ids, subwords or words, without special tokens around lines.
        unknowns: Number of unknown ones.
        output: The lines to write; empty for a corpus.
        lengths: For a corpus, the number of ids of each line; int32 of shape (lines,).
        ids: For a corpus, the ids of all lines; int32 of shape (ids,).
    """

    lines: int
    items: int
    unknowns: int
    output: bytes
    lengths: array[int] | None = None
    ids: array[int] | None = None


def convert(tokenizer: XLMTokenizer, work: tuple[Options, Batch]) -> Converted:
    """Convert one batch of lines; worker processes run this."""
    options, batch = work
    lines = batch.lines()
    if options.to in ("ids", "corpus"):
        return _convert_to_ids(tokenizer, options, lines)
    return writer_of(tokenizer, options).convert(lines)


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
    """Writes the words or subwords of lines as text.

    Args:
        tokenizer: The tokenizer.
        options: What becomes of a line.
    """

    def __init__(self, tokenizer: XLMTokenizer, options: Options) -> None:
        self._tokenizer = tokenizer
        self._lang = options.lang
        texts = tokenizer.text_encoder
        self._sections = texts.sections
        self._text_options = TextOptions(split_special_tokens=tokenizer.split_special_tokens)
        self._words = texts.chunk_encoder(options.lang).pipeline.words
        self._encoder = texts.word_encoder
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
        for part, added in self._sections(line, self._text_options):
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
            found = list(zip(pieces, unknown, strict=True))
            if len(self._remembered) >= _WORDS_REMEMBERED:
                self._remembered.clear()
            if len(word) <= _LONGEST_REMEMBERED:
                self._remembered[word] = found
        return found


@functools.lru_cache(maxsize=1)
def writer_of(tokenizer: XLMTokenizer, options: Options) -> _Writer:
    """The writer for a tokenizer and options; that of the previous batch if both are the same."""
    # A worker gets one batch after another, and the writer remembers words between them.
    return _Writer(tokenizer, options)
