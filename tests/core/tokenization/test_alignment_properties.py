"""Offsets over any text: as many as ids, in order, without holes, and where the subwords are."""

from __future__ import annotations

import functools
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import FULL
from tests.core.tokenization.conftest import new_ours
from tests.support.corpora import ntrex, pud, pydocs
from tests.support.fuzz_text import fuzz_texts
from xlm_core import AddedToken, XLMTokenizer

MODES = pytest.mark.parametrize("mode", ["v4", "v5", "original"])
CASES = pytest.mark.parametrize("lower", [True, False], ids=["lower", "cased"])
FUZZ = 5000 if FULL else 300
LINES = 200 if FULL else 4


@functools.cache
def tokenizer_of(mode: str, lower: bool) -> XLMTokenizer:
    tokenizer = new_ours(mode=mode, do_lowercase_and_remove_accent=lower)
    tokenizer.add_tokens(["b5", AddedToken("<special1>s", lstrip=True, special=True)])
    return tokenizer


@functools.cache
def is_simple(char: str) -> bool:
    """Whether lowercasing is all that may happen to it."""
    return (
        category(char) in ("Lu", "Ll", "Lo", "Nd")
        and normalize("NFKD", char) == char
        and len(char.lower()) == 1
        and normalize("NFD", char.lower()) == char.lower()
        and (char.isascii() or category(char) != "Nd")
    )


def without_final_sigma(text: str) -> str:
    return text.replace("\N{GREEK SMALL LETTER FINAL SIGMA}", "\N{GREEK SMALL LETTER SIGMA}")


def check(tokenizer: XLMTokenizer, text: str, lang: str | None = None) -> None:
    options = {} if lang is None else {"lang": lang}
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **options)
    spans, words = encoding["offset_mapping"], encoding.word_ids()
    tokens = tokenizer.tokenize(text, **options)
    # The same ids as without offsets, and a span and a word for each.
    assert encoding.input_ids == tokenizer(text, add_special_tokens=False, **options).input_ids
    assert len(spans) == len(words) == len(tokens) == len(encoding.input_ids)
    assert words == sorted(words)
    assert set(words) == set(range(len(set(words))))
    covered = bytearray(len(text))
    last, last_word = (0, 0), -1
    for (begin, end), word, token in zip(spans, words, tokens, strict=True):
        assert 0 <= begin < end <= len(text), (begin, end)
        # In order; overlapping only in one character, or in a mark for periods that is rewritten.
        assert begin >= last[0]
        assert end >= last[1]
        shared = text[begin : last[1]]
        assert len(shared) <= 1 or "multi" in shared.lower(), (token, shared)
        # No hole inside a word.
        if word == last_word:
            assert begin <= last[1]
        # What was not rewritten is the subword.
        part, piece = text[begin:end], token.removesuffix("</w>")
        if all(map(is_simple, part)) and "multi" not in part.lower():
            expected = part.lower() if tokenizer.do_lowercase_and_remove_accent else part
            assert without_final_sigma(piece) == without_final_sigma(expected)
        covered[begin:end] = b"\1" * (end - begin)
        last, last_word = (begin, end), word
    # No letter is left out.
    for at, char in enumerate(text):
        assert covered[at] or not is_simple(char), (at, char)


@MODES
@CASES
def test_generated_text(mode: str, lower: bool) -> None:
    for text in fuzz_texts(FUZZ, seed=51):
        check(tokenizer_of(mode, lower), text)


@MODES
@CASES
def test_any_text(mode: str, lower: bool) -> None:
    marks = st.sampled_from("\u0301\u0323\u0345\u0903\u093e\u3099\u302e\U0001d165\U0001d16d")
    other = st.sampled_from([*"İΣ한ﬁ…«»\u00a0\u00ad\u200c,.'\" aB5", "''", "DOTMULTI", "b5"])

    @given(text=st.lists(st.one_of(st.characters(), marks, other), max_size=20).map("".join))
    def checked(text: str) -> None:
        check(tokenizer_of(mode, lower), text)

    checked()


@MODES
@pytest.mark.parametrize("lang", ["fr", "de", "ro", "fi", "ko", "hi"])
def test_languages(mode: str, lang: str) -> None:
    for text in fuzz_texts(FUZZ // 4, seed=52):
        check(tokenizer_of(mode, True), text, lang)


@MODES
def test_real_text(mode: str) -> None:
    for corpus in (ntrex(), pud(), pydocs()):
        for lines in corpus.values():
            for at in range(min(LINES, len(lines))):
                check(tokenizer_of(mode, True), lines[at * len(lines) // LINES])


@pytest.mark.parametrize(("lang", "package"), [("zh", "rjieba"), ("th", "pythainlp")])
@MODES
def test_segmented_languages(mode: str, lang: str, package: str) -> None:
    pytest.importorskip(package)
    for lines in (ntrex()[lang], pud()[lang]):
        for line in lines[:: len(lines) // (LINES * 3)]:
            check(tokenizer_of(mode, True), line, lang)
