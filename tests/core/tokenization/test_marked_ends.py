"""Dictionaries that mark the ends of words, as transformers' vocab.json does."""

from __future__ import annotations

import pytest

from xlm_core.tokenization.files.vocabulary_files import (
    SPECIAL_WORDS,
    are_cased,
    marks_ends,
    vocabulary_of_words,
)


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        (["low</w>", "lo"], True),
        (["low", "lo@@"], False),
        (["low", "lower"], False),
        # A word of a text that was split, and a text in which both stand.
        (["</w>", "low"], False),
        (["low</w>", "lo@@"], False),
    ],
)
def test_which_they_are(words: list[str], marked: bool) -> None:
    assert marks_ends([*SPECIAL_WORDS, *words]) == marked


def test_they_stay_as_they_are() -> None:
    words = [*SPECIAL_WORDS, "lo", "low</w>"]
    assert vocabulary_of_words(words) == {word: i for i, word in enumerate(words)}
    assert list(vocabulary_of_words([*SPECIAL_WORDS, "lo@@", "low"])) == words


def test_capitals() -> None:
    assert are_cased([*SPECIAL_WORDS, "Low"])
    assert not are_cased([*SPECIAL_WORDS, "low", "<special1>"])
    # As in the published vocabulary of 15 languages: its text lost ASCII capitals alone.
    assert not are_cased([*SPECIAL_WORDS, "low</w>", "Москва"])
    assert are_cased([*SPECIAL_WORDS, "Москва", "тест</w>"])
