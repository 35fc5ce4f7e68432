"""Words to subwords and ids: BPE and the vocabulary, remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xlm_core.tokenization.text.aligned_text import AlignedText, hull
from xlm_core.tokenization.words.bpe import BPE, END_OF_WORD
from xlm_core.tokenization.words.memory import Memory

Ids = tuple[int, ...]
# Begin, end, and the index of the word.
Aligned = tuple[int, int, int]


class WordEncoder:
    """Splits words into subwords and looks up their ids.

    Args:
        bpe: Splits words into subwords.
        ids: Id of each subword and added token.
        unknown: Returns the id of any other; raises if there is none.
        memory: Where the ids of words are remembered.
        perl: Subwords are named as in the original's files, where "@@" marks all but the last
            of a word: a word that itself ends in "@@" has the id of what comes before it.
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
        """The span of each subword of `words`, and the index of its word."""
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
