"""Words to ids, remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xlm_core.tokenization.text.aligned_text import AlignedText, hull
from xlm_core.tokenization.words.bpe import BPE, END_OF_WORD

DEFAULT_CACHE_SIZE = 100_000

# Longer ones are rare and would make the memory of a full cache unbounded.
_LONGEST_REMEMBERED = 64

Ids = tuple[int, ...]
# Begin, end, and the number of the word.
Aligned = tuple[int, int, int]


class Memory:
    """How much all caches of a tokenizer may hold together; they are emptied when it is full.

    A cache emptied now and then costs less than one that keeps track of what was used last. One
    entry of real text takes 160 to 240 bytes: 100,000, the default, 15 to 25 MB.
    """

    def __init__(self, size: int = DEFAULT_CACHE_SIZE) -> None:
        self.size = size
        self.entries = 0
        self._caches: list[dict[Any, Any]] = []

    def cache(self) -> dict[Any, Any]:
        """A new, empty cache that counts towards the size."""
        cache: dict[Any, Any] = {}
        self._caches.append(cache)
        return cache

    def keep(self, cache: dict[Any, Any], key: Any, length: int, value: Any) -> None:
        """Put `value` under `key`, of `length` characters, into `cache`, unless it is too long."""
        if length > _LONGEST_REMEMBERED:
            return
        if self.entries >= self.size:
            self.clear()
        if self.size:
            cache[key] = value
            self.entries += 1

    def clear(self) -> None:
        """Forget everything."""
        for cache in self._caches:
            cache.clear()
        self.entries = 0


class WordEncoder:
    """Words to ids: BPE and vocabulary.

    Args:
        bpe: Splits words.
        ids: Id of each subword and added token.
        unknown: Gives the id of any other.
        memory: Where words are remembered.
        perl: Subwords are named as in the original's files, where "@@" marks all but the last:
            a word that itself ends in "@@" has the id of what comes before.
    """

    def __init__(
        self,
        bpe: BPE,
        ids: dict[str, int],
        unknown: Callable[[], int],
        memory: Memory,
        *,
        perl: bool,
    ) -> None:
        self._bpe = bpe
        self._ids = ids
        self._unknown = unknown
        self._memory = memory
        self._perl = perl
        self._words = memory.cache()

    def pieces(self, word: str) -> list[str]:
        """Subwords of `word`."""
        pieces = self._bpe.split(word)
        if " " in word and not self._perl:
            # transformers joins subwords by blanks and splits again: a blank of its own (Thai)
            # becomes an empty subword and an end of word.
            pieces = " ".join(pieces).split(" ")
        return pieces

    def id_of(self, piece: str) -> int:
        """Id of one subword."""
        found = self._ids.get(piece)
        if found is None and self._perl and piece.endswith("@@</w>"):
            found = self._ids.get(piece[: -len("@@</w>")])
        return self._unknown() if found is None else found

    def ids(self, word: str) -> Ids:
        """Ids of the subwords of `word`."""
        found = self._words.get(word)
        if found is None:
            found = tuple(map(self.id_of, self.pieces(word)))
            self._memory.keep(self._words, word, len(word), found)
        return found

    def align(self, words: Iterable[AlignedText]) -> list[Aligned]:
        """Span of every subword of `words`, and the number of its word."""
        return [
            (begin, end, number)
            for number, word in enumerate(words)
            for begin, end in self._spans(word)
        ]

    def _spans(self, word: AlignedText) -> list[tuple[int, int]]:
        pieces = self.pieces(word.text)
        lengths = [len(piece) for piece in pieces]
        lengths[-1] -= len(END_OF_WORD)
        if sum(lengths) != len(word):
            # The empty subword that a blank of its own becomes.
            return [hull(word.spans)] * len(pieces)
        spans, begin = [], 0
        for length in lengths:
            spans.append(hull(word.spans[begin : begin + length]))
            begin += length
        return spans
