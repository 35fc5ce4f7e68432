"""The fast path gives the ids of the plain ones, over everything that could tell them apart."""

from __future__ import annotations

from itertools import chain
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import FULL
from tests.core.tokenization.conftest import new_ours
from tests.support.fuzz_text import below, fuzz_texts, one_of
from tests.support.tokenizer_parts import chunks_alone, chunks_in_context, path_of, word_encoder
from xlm_core import XLMTokenizer
from xlm_core.tokenization.text.aligned_text import AlignedText
from xlm_core.tokenization.text.pipeline import Pipeline

LANGUAGES = ("en", "de", "fr", "it", "ga", "so", "fi", "sv", "cs", "hi", "ro", "ru", "ko", "el")
LANGUAGES += ("tr", "zh", "th")
PACKAGES = {"zh": "rjieba", "th": "pythainlp"}
MODES = pytest.mark.parametrize("mode", ["v4", "v5", "original"])
DENSE = (
    *"..,,''\"`-:;  aaB5s\n",
    "Mr.",
    "No.",
    "z.B.",
    " '",
    "' ",
    ",'",
    "DOTMULTI",
    "\u00a0",
    "é",
)
DENSE += ("ş", "Σ", "का", "한", "漢")
COUNT = 3000 if FULL else 80

dense = st.lists(st.sampled_from(DENSE), max_size=16).map("".join)


def dense_texts(count: int, seed: int) -> list[str]:
    random = Random(seed)
    return ["".join(one_of(random, DENSE) for _ in range(below(random, 24))) for _ in range(count)]


def plain_ids(tokenizer: XLMTokenizer, text: str, lang: str) -> list[int]:
    """Every step on the whole text, and no cache."""
    path = path_of(tokenizer, lang)
    words = path.pipeline.words(text)
    aligned = path.pipeline.words_aligned(AlignedText.of(text))
    assert [word.text for word in aligned] == words, ascii(text)
    encoder = word_encoder(tokenizer)
    spans = encoder.align(aligned)
    assert path.align(AlignedText.of(text)) == spans, ascii(text)
    pieces = chain.from_iterable(map(encoder.pieces, words))
    return [encoder.id_of(piece) for piece in pieces]


@MODES
@pytest.mark.parametrize("lang", LANGUAGES)
def test_all_paths_give_the_same(lang: str, mode: str) -> None:
    if lang in PACKAGES:
        pytest.importorskip(PACKAGES[lang])
    seed = 200 + LANGUAGES.index(lang)
    texts = [*dense_texts(COUNT * 2, seed), *fuzz_texts(COUNT, seed)]
    for lower in (True, False):
        tokenizer = new_ours(mode=mode, do_lowercase_and_remove_accent=lower, cache_size=3000)
        path = path_of(tokenizer, lang)
        for text in texts[:: 1 if lower else 3]:
            assert path.ids(text) == plain_ids(tokenizer, text, lang), (lower, ascii(text))
        # Again, from what is remembered, in another order.
        for text in texts[:-50:-1]:
            assert path.ids(text) == plain_ids(tokenizer, text, lang), (lower, ascii(text))


@MODES
@pytest.mark.parametrize("lang", ["en", "fr", "de"])
def test_whatever_stands_beside_what(mode: str, lang: str) -> None:
    tokenizer = new_ours(mode=mode)
    path = path_of(tokenizer, lang)

    @given(first=dense, second=dense, blank=st.sampled_from(["", " ", "  ", "\t", "\u3000", "\n"]))
    def check(first: str, second: str, blank: str) -> None:
        for text in (first, first + blank + second, second + blank + first):
            assert path.ids(text) == plain_ids(tokenizer, text, lang)

    check()


@MODES
def test_every_pair_of_short_chunks(mode: str) -> None:
    """All pairs of what a chunk may begin and end with: the rules across a blank."""
    tokenizer = new_ours(mode=mode)
    path = path_of(tokenizer, "en")
    ends = ("a", "A", "5", ".", ",", "'", '"', "-", "é", "Mr.", "No.", "a.b.", "s", "``", "²")
    for left in ends:
        for right in ends:
            for text in (f"{left} {right}", f"x{left} {right}x", f"{left}{right} {left} {right}"):
                assert path.ids(text) == plain_ids(tokenizer, text, "en"), text


@MODES
def test_tokenize_and_a_call_agree(mode: str) -> None:
    """`tokenize` goes the plain way, a call the fast one."""
    tokenizer = new_ours(mode=mode)
    tokenizer.add_tokens(["cat", "B5"])
    for text in [*dense_texts(200, 5), *fuzz_texts(200, seed=6)]:
        tokens = tokenizer.tokenize(text)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == tokenizer.convert_tokens_to_ids(tokens), ascii(text)


def test_what_is_remembered_is_used() -> None:
    """The texts above would show a cache that mixes two contexts up."""
    tokenizer = new_ours(mode="v5")
    path = path_of(tokenizer, "en")
    first = path.ids("a b. C b. c b.")
    assert chunks_in_context(path).keys() == {("b.", "", "X"), ("b.", "", "x"), ("b.", "", "")}
    assert chunks_alone(path).keys() == {"a", "C", "c"}
    chunks_alone(path)["a"] = (99,)
    assert path.ids("a b. C b. c b.") == [99, *first[1:]]


def test_a_new_chunk_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it stands many times in the text in which it is first seen."""
    seen: list[str] = []
    plain = Pipeline.words_of_chunk

    def counted(self: Pipeline, chunk: str, left: str, right: str) -> list[str]:
        seen.append(chunk)
        return plain(self, chunk, left, right)

    monkeypatch.setattr(Pipeline, "words_of_chunk", counted)
    new_ours()("the cat the cat, the cat, cat. The cat. the")
    assert sorted(seen) == ["cat", "cat,", "cat.", "the"]


def test_chunks_are_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = new_ours()
    text = "The cat isn't in Mr. Smith's house, 'he said'. No. 5 , 'x"
    expected = tokenizer(text).input_ids

    def refuse(*_: object) -> list[str]:
        raise AssertionError("a chunk was looked at again")

    monkeypatch.setattr(Pipeline, "words_of_chunk", refuse)
    assert tokenizer(text).input_ids == expected
    with pytest.raises(AssertionError, match="looked at again"):
        tokenizer("unseen,")
