"""Our tokenizer beside transformers' own, in one process, text by text.

What the recordings cannot hold: added tokens, special tokens split like words, and the languages
that transformers' public methods cannot be asked for.
"""

from __future__ import annotations

import functools
from random import Random
from typing import Any

import pytest
from transformers import AddedToken as PeerAddedToken
from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

from tests.conftest import FULL
from tests.support.corpora import ntrex, pud, pydocs, vocabulary
from tests.support.fuzz_text import SPACES, below, fuzz_texts, one_of
from xlm_core import AddedToken, XLMTokenizer

FUZZ = 20_000 if FULL else 1800
LINES = 400 if FULL else 5
# Python's own properties of characters decide in both: no version of Unicode is asked for here.
CASES = pytest.mark.parametrize("lower", [True, False], ids=["lower", "cased"])
LANGUAGES = ("de", "fr", "it", "es", "fi", "sv", "ro", "ru", "ko", "cs", "hi", "sw", "zh", "th")
PACKAGES = {"zh": "rjieba", "th": "pythainlp"}

# What is added, all at once: as words, as special tokens, and with each of the options.
# None within another: there, transformers' trie skips a character now and then (differences.md).
PLAIN = ("newtok", "Foo", "new york", "日本", "naïve", "x.y")
SPECIAL = ("<ent>", "[X]", "<Mixed>")
OPTIONS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("<l>", {"lstrip": True}),
    ("<r>", {"rstrip": True}),
    ("<lr>", {"lstrip": True, "rstrip": True}),
    ("<w>", {"single_word": True}),
    ("<wl>", {"single_word": True, "lstrip": True}),
    ("<wr>", {"single_word": True, "rstrip": True}),
    ("word", {"single_word": True}),
    ("Exact", {"normalized": False}),
    ("Loose", {"normalized": True}),
    ("<S>", {"special": True}),
    ("<SL>", {"special": True, "lstrip": True}),
    ("<SR>", {"special": True, "rstrip": True, "normalized": True}),
    ("<SW>", {"special": True, "single_word": True, "normalized": False}),
)


def new_peer(name: str, lower: bool) -> Any:
    """A tokenizer of transformers with a list of its own.

    The default of `additional_special_tokens` is one list for all of a process, to which adding a
    special token to any of them appends.
    """
    files = vocabulary(name)
    return Peer(
        str(files.vocab_file),
        str(files.merges_file),
        additional_special_tokens=[f"<special{i}>" for i in range(10)],
        do_lowercase_and_remove_accent=lower,
    )


peer = functools.cache(new_peer)


def new_ours(name: str, lower: bool, mode: str = "v4") -> XLMTokenizer:
    files = vocabulary(name)
    return XLMTokenizer(
        str(files.vocab_file),
        str(files.merges_file),
        mode=mode,
        do_lowercase_and_remove_accent=lower,
    )


ours = functools.cache(new_ours)


def compared(tok: Any, text: str, **options: Any) -> dict[str, Any]:
    """What is the same for both, under the names of the methods."""
    ids = tok(text, **options)["input_ids"]
    return {
        "tokenize": tok.tokenize(text, **options),
        "ids": ids,
        "decode": tok.decode(ids),
        "decode, no special tokens": tok.decode(ids, skip_special_tokens=True),
    }


def assert_same(mine: Any, theirs: Any, texts: list[str], **options: Any) -> None:
    for text in texts:
        expected = compared(theirs, text, **options)
        found = compared(mine, text, **options)
        for method, value in expected.items():
            assert found[method] == value, (method, ascii(text))


def sample(lines: list[str], count: int) -> list[str]:
    """`count` of the lines, evenly spread."""
    return [lines[i * len(lines) // count] for i in range(min(count, len(lines)))]


def sampled_lines() -> list[str]:
    return [
        line
        for corpus in (ntrex(), pud(), pydocs())
        for lines in corpus.values()
        for line in sample(lines, LINES)
    ]


def fuzz(count: int = FUZZ, seed: int = 11) -> list[str]:
    return fuzz_texts(count, seed)


@CASES
@pytest.mark.parametrize("name", ["xnli_15", "enfr", "ende"])
def test_real_text(name: str, lower: bool) -> None:
    assert_same(ours(name, lower), peer(name, lower), sampled_lines())


@CASES
def test_generated_text(lower: bool) -> None:
    assert_same(ours("xnli_15", lower), peer("xnli_15", lower), fuzz(FUZZ if lower else FUZZ // 3))


@CASES
def test_special_tokens_split_like_words(lower: bool) -> None:
    texts = with_inserted(fuzz(FUZZ // 6), ("<s>", "</s>", "<special1>", "<PAD>"))
    assert_same(ours("xnli_15", lower), peer("xnli_15", lower), texts, split_special_tokens=True)


def test_without_special_tokens_and_in_pairs() -> None:
    mine, theirs = ours("xnli_15", True), peer("xnli_15", True)
    texts = fuzz(FUZZ // 10)
    for first, second in zip(texts, reversed(texts), strict=True):
        for arguments in ((first,), (first, second)):
            for special in (True, False):
                expected = theirs(*arguments, add_special_tokens=special)
                found = mine(*arguments, add_special_tokens=special)
                assert found["input_ids"] == expected["input_ids"], arguments
                assert found["token_type_ids"] == expected["token_type_ids"], arguments
                assert found["attention_mask"] == expected["attention_mask"], arguments


@CASES
def test_decode_any_ids(lower: bool) -> None:
    mine, theirs = ours("xnli_15", lower), peer("xnli_15", lower)
    random = Random(5)
    for _ in range(300):
        bound = (20, 500, 95_000, 95_100)[below(random, 4)]
        ids = [below(random, bound) for _ in range(below(random, 30))]
        for options in (
            {},
            {"skip_special_tokens": True},
            {"clean_up_tokenization_spaces": True},
            {"spaces_between_special_tokens": False},
        ):
            assert mine.decode(ids, **options) == theirs.decode(ids, **options), (ids, options)
        assert mine.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids), ids


# -- added tokens ---------------------------------------------------------------------------------


def with_inserted(texts: list[str], inserted: tuple[str, ...], seed: int = 3) -> list[str]:
    """The texts with a few of `inserted` put in, beside blanks or not, in one case or another."""
    random = Random(seed)
    results = []
    for text in texts:
        characters = list(text)
        for _ in range(1 + below(random, 4)):
            token = one_of(random, inserted)
            token = (token, token, token.lower(), token.upper())[below(random, 4)]
            left = one_of(random, SPACES) if random.random() < 0.3 else ""
            right = one_of(random, SPACES) if random.random() < 0.3 else ""
            at = below(random, len(characters) + 1)
            characters[at:at] = left + token + right
        results.append("".join(characters))
    return results


def add_plain(tok: Any, _: Any) -> int:
    return tok.add_tokens(list(PLAIN))


def add_special(tok: Any, _: Any) -> int:
    return tok.add_tokens(list(SPECIAL), special_tokens=True)


def add_options(tok: Any, added: Any) -> int:
    return tok.add_tokens([added(content, **options) for content, options in OPTIONS])


def add_all(tok: Any, added: Any) -> int:
    return add_options(tok, added) + add_special(tok, added) + add_plain(tok, added)


@CASES
@pytest.mark.parametrize("add", [add_plain, add_special, add_options, add_all])
def test_added_tokens(add: Any, lower: bool) -> None:
    theirs, mine = new_peer("xnli_15", lower), new_ours("xnli_15", lower)
    assert add(mine, AddedToken) == add(theirs, PeerAddedToken)
    assert mine.get_added_vocab() == theirs.get_added_vocab()
    assert len(mine) == len(theirs)
    assert mine.all_special_ids == theirs.all_special_ids

    contents = (*PLAIN, *SPECIAL, *(content for content, _ in OPTIONS), "<special1>", "</s>")
    dense = with_inserted(["", " ", "a", "b c", "Dr. No. 5"] * (FUZZ // 60), contents, seed=8)
    texts = [*dense, *with_inserted(fuzz(FUZZ // 10), contents)]
    assert_same(mine, theirs, texts)
    assert_same(mine, theirs, texts[::5], split_special_tokens=True)


# -- other languages than English -----------------------------------------------------------------


def texts_in(language: str) -> list[str]:
    """Real lines of a language where there are any, and generated strings, with no special token.

    `_tokenize` alone is asked, which knows no special tokens.
    """
    lines = [
        line
        for corpus in (ntrex(), pud(), pydocs())
        for line in sample(corpus.get(language, []), 6 * LINES)
    ]
    special = peer("xnli_15", True).all_special_tokens
    return [
        text
        for text in (*lines, *fuzz(FUZZ // 8, seed=100 + LANGUAGES.index(language)))
        if not any(token in text for token in special)
    ]


@CASES
@pytest.mark.parametrize("language", LANGUAGES)
def test_language_of_the_text(language: str, lower: bool) -> None:
    if language in PACKAGES:
        pytest.importorskip(PACKAGES[language])
    mine, theirs = ours("xnli_15", lower, "v5"), peer("xnli_15", lower)
    for text in texts_in(language):
        expected = theirs._tokenize(text, lang=language)
        assert mine.tokenize(text, lang=language) == expected, ascii(text)


@CASES
def test_words_that_a_caller_has_split(lower: bool) -> None:
    mine, theirs = ours("xnli_15", lower, "v5"), peer("xnli_15", lower)
    special = theirs.all_special_tokens
    for text in fuzz(FUZZ // 4, seed=12):
        if not any(token in text for token in special):
            expected = theirs._tokenize(text, bypass_tokenizer=True)
            assert mine.tokenize(text, bypass_tokenizer=True) == expected, ascii(text)
