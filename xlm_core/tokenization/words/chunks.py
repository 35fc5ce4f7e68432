"""Normalised texts to ids, chunk by chunk: what stands between two blanks is looked at once.

The Moses tokenizer looks at a whole text, but what it makes of a chunk (the characters between
two blanks) depends on the chunk alone, with these exceptions:

- a period at its end, on how the next chunk begins, or whether there is one;
- a comma or apostrophe at its beginning, on whether a chunk stands before it;
- an apostrophe at its end, on whether one follows;
- an apostrophe at its end where the next one begins with one: both rules want the blank between.

The first three are part of the key under which such a chunk is remembered; neighbours of the last
kind are taken as one chunk. Normalisation and the removal of accents are cheap where nothing
changes. Tests hold the ids equal to those of `Pipeline.words`, which looks at whole texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol

from xlm_core.tokenization.text.aligned_text import AlignedText
from xlm_core.tokenization.text.pipeline import Pipeline
from xlm_core.tokenization.words.memory import Memory
from xlm_core.tokenization.words.word_encoder import Aligned, Ids

# A chunk, and a word to stand before and after it where they matter.
_ChunkInContext = tuple[str, str, str]


class EncodesWords(Protocol):
    """What a `ChunkEncoder` makes of words: a `WordEncoder`, or another way to number them."""

    def ids(self, word: str) -> Ids:
        """Ids of one word."""
        ...

    def align(self, words: Iterable[AlignedText]) -> list[Aligned]:
        """The span of each id of `words`, and the index of its word."""
        ...


class ChunkEncoder:
    """Texts of one language to ids, remembering what each chunk became.

    Args:
        pipeline: Texts to words.
        encoder: Words to ids.
        memory: Where the ids of chunks are remembered.
    """

    def __init__(self, pipeline: Pipeline, encoder: EncodesWords, memory: Memory) -> None:
        self.pipeline = pipeline
        self._encoder = encoder
        self._memory = memory
        self._alone = memory.cache()
        self._in_context = memory.cache()
        self._aligned = memory.cache()

    def ids(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens around them."""
        if self.pipeline.perl and "\n" in text:
            return [i for line in text.split("\n") for i in self.ids(line)]
        if not self.pipeline.uses_moses:
            words = self.pipeline.words(text)
            known: list[Ids | None] = list(map(self._alone.get, words))
            if None in known:
                for at, ids in enumerate(known):
                    if ids is None:
                        known[at] = new = self._encoder.ids(words[at])
                        self._memory.keep(self._alone, words[at], len(words[at]), new)
            return list(chain.from_iterable(known))  # type: ignore[arg-type]
        text = self.pipeline.normalize(text)
        chunks = text.split()
        if "'" in text:
            chunks = _join_contested(chunks)
        found: list[Ids | None] = list(map(self._alone.get, chunks))
        if None in found:
            for at, ids in enumerate(found):
                if ids is None:
                    found[at] = self._ids_of_chunk(chunks, at)
        return list(chain.from_iterable(found))  # type: ignore[arg-type]

    def align(self, text: AlignedText) -> list[Aligned]:
        """The span of each of `ids(text.text)`, and the index of its word."""
        if not self.pipeline.uses_moses or (self.pipeline.perl and "\n" in text.text):
            return self._encoder.align(self.pipeline.words_aligned(text))
        normalized = self.pipeline.normalize_aligned(text)
        chunks = normalized.text.split()
        if "'" in normalized.text and len(_join_contested(chunks)) < len(chunks):
            return self._encoder.align(self.pipeline.words_aligned(text))
        found: list[Aligned] = []
        at = word = 0
        for number, chunk in enumerate(chunks):
            at = normalized.text.index(chunk[0], at)
            in_context = self._in_its_context(chunks, number)
            spans = self._aligned.get(in_context)
            if spans is None:
                spans = self._encoder.align(self.pipeline.align_chunk(*in_context))
                self._memory.keep(self._aligned, in_context, len(chunk), spans)
            for begin, end, n in spans:
                source = normalized.spans[at + begin : at + end]
                found.append((source[0][0], source[-1][1], word + n))
            word += spans[-1][2] + 1 if spans else 0
            at += len(chunk)
        return found

    def _ids_of_chunk(self, chunks: Sequence[str], at: int) -> Ids:
        chunk = chunks[at]
        in_context = self._in_its_context(chunks, at)
        alone = in_context == (chunk, "", "") and not _depends_on_neighbours(chunk)
        found: Ids | None = self._alone.get(chunk) if alone else self._in_context.get(in_context)
        if found is None:
            words = self.pipeline.words_of_chunk(*in_context)
            found = tuple(chain.from_iterable(map(self._encoder.ids, words)))
            if alone:
                self._memory.keep(self._alone, chunk, len(chunk), found)
            else:
                self._memory.keep(self._in_context, in_context, len(chunk), found)
        return found

    def _in_its_context(self, chunks: Sequence[str], at: int) -> _ChunkInContext:
        """The key of a chunk: itself, and the words to tokenize it between."""
        chunk = chunks[at]
        left = right = ""
        if at and chunk[0] in ",'":
            left = "x"
        if at + 1 < len(chunks):
            if chunk[-1] == ".":
                right = self.pipeline.moses.state_after_period(chunks[at + 1][0])
            elif chunk[-1] == "'":
                right = "X"
        return chunk, left, right


def fill_holes(tokens: list[Aligned]) -> None:
    """Extend each subword over what was deleted after it within its word, such as a soft hyphen."""
    for i in range(len(tokens) - 1):
        begin, end, word = tokens[i]
        following, _, its_word = tokens[i + 1]
        if word == its_word and end < following:
            tokens[i] = begin, following, word


def _depends_on_neighbours(chunk: str) -> bool:
    """Whether the words of `chunk` can depend on the chunks beside it."""
    return chunk[0] in ",'" or chunk[-1] in ".'"


def _join_contested(chunks: list[str]) -> list[str]:
    """Join neighbouring chunks of which one ends and the next begins with an apostrophe."""
    joined: list[str] = []
    for chunk in chunks:
        if joined and chunk[0] == "'" and joined[-1][-1] == "'":
            joined[-1] += " " + chunk
        else:
            joined.append(chunk)
    return joined
