"""Learned merges beside direct counting, counted words, and vocabularies."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from xlm_core.errors import TokenizerError
from xlm_core.subwords import (
    WordCounts,
    codes_text,
    count_subwords,
    learn_merges,
    sentences_to_read,
    vocabulary_text,
    words_of_vocabulary,
)
from xlm_core.tokenization.text.pipeline import Pipeline

Merge = tuple[tuple[str, str], int]


def by_counting(counts: dict[str, int], number: int) -> list[Merge]:
    """Every pair counted anew at each step."""
    words = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    merges: list[Merge] = []
    for _ in range(number):
        seen: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                seen[pair] += counts[word]
        if not seen:
            break
        pair, count = min(seen.items(), key=lambda entry: (-entry[1], entry[0]))
        merges.append((pair, count))
        for word, symbols in words.items():
            joined, at = [], 0
            while at < len(symbols):
                size = 2 if tuple(symbols[at : at + 2]) == pair else 1
                joined.append("".join(symbols[at : at + size]))
                at += size
            words[word] = joined
    return merges


@pytest.mark.parametrize("letters", ["a", "ab", "abcdef"])
def test_each_merge_is_a_most_frequent_pair(letters: str) -> None:
    draw = random.Random(letters)
    for _ in range(25):
        words = ("".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(40))
        counts = dict(Counter(words))
        number = draw.randint(1, 60)
        assert learn_merges(counts, number) == by_counting(counts, number)


def test_rare_pairs_can_be_left_out() -> None:
    merges = learn_merges({"ab": 5, "cd": 2}, 10, smallest=3)
    assert merges == [(("a", "b</w>"), 5)]
    done: list[int] = []
    learn_merges({"abcd": 1}, 2, progress=done.append)
    assert done == [1, 2]


def test_words_are_those_of_the_tokenizer() -> None:
    texts = ['Déjà-vu: it\'s the "U.S.", 3.14 % .', "l'été, aujourd'hui ... fin.", "  ", "a a a"]
    for mode in ("original", "v4"):
        counts = WordCounts(mode)
        expected: Counter[str] = Counter()
        for text in texts:
            counts.add(text, "fr", 2)
            for word in Pipeline(mode, "fr", lowercase=True).words(text):
                expected[word] += 2
        assert counts.counts == expected


def test_small_languages_are_read_more_often() -> None:
    read = sentences_to_read({"en": 9000, "sw": 1000}, 0.5)
    assert read == {"en": 7500, "sw": 2500}
    assert sentences_to_read({"en": 9, "sw": 1}, 1.0) == {"en": 9, "sw": 1}
    for given, words in (({"en": 0}, "no text of en"), ({"en": 1}, "alpha is 2")):
        with pytest.raises(TokenizerError, match=words):
            sentences_to_read(given, 2 if "alpha" in words else 0.5)


def test_a_vocabulary_holds_the_subwords_by_frequency() -> None:
    merges = [(("a", "b"), 3), (("ab", "c</w>"), 2)]
    subwords = count_subwords({"abc": 2, "ab": 1, "abd": 4}, [pair for pair, _ in merges])
    assert subwords == {"ab@@": 4, "d": 4, "abc": 2, "a@@": 1, "b": 1}
    words = words_of_vocabulary(subwords, smallest=2, most=16)
    assert [words[i] for i in range(14, 16)] == ["ab@@", "d"]
    assert words[0] == "<s>"
    assert words[13] == "<special9>"
    assert vocabulary_text(words, subwords) == "ab@@ 4\nd 4\n"
    assert codes_text(merges) == "a b 3\nab c</w> 2\n"
    with pytest.raises(TokenizerError, match=r"no subword of 5 .*least 100 times\): give more"):
        words_of_vocabulary(subwords, smallest=100)
    with pytest.raises(
        TokenizerError, match=r"seen at least 1 times, at most 14 ids\): expected more than 14"
    ):
        words_of_vocabulary(subwords, most=14)
    for wrong in ({"most": -1}, {"smallest": 0}):
        with pytest.raises(TokenizerError, match="expected positive numbers"):
            words_of_vocabulary(subwords, **wrong)


@pytest.mark.parametrize(
    ("counts", "number", "words"),
    [({}, 1, "no words"), ({"a": 0}, 1, "counted 0 times"), ({"a": 1}, -1, "-1 merges")],
)
def test_what_cannot_be_learned_is_refused(counts: dict[str, int], number: int, words: str) -> None:
    with pytest.raises(TokenizerError, match=words):
        learn_merges(counts, number)
