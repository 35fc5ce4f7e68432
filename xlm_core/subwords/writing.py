"""The original's files of merges and of a vocabulary, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xlm_core.tokenization.files.vocabulary_files import SPECIAL_WORDS
from xlm_core.tokenization.words.bpe import Pair


def codes_text(merges: Iterable[tuple[Pair, int]]) -> str:
    """The codes, as fastBPE writes them: a pair a line, and how often it was seen."""
    return "".join(f"{first} {second} {count}\n" for (first, second), count in merges)


def vocabulary_text(words: Mapping[int, str], counts: Mapping[str, int]) -> str:
    """The vocabulary, as the original reads it: a subword a line, and how often it was seen.

    The special words are left out: the original puts them before.
    """
    subwords = [words[i] for i in sorted(words) if words[i] not in SPECIAL_WORDS]
    return "".join(f"{word} {counts[word]}\n" for word in subwords)
