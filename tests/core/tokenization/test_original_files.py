"""The original's files: the codes of fastBPE, the vocabulary with its counts, the dictionary."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.tokenization.conftest import SPECIAL
from tests.support.corpora import as_transformers, read_words
from xlm_core import XLMTokenizer
from xlm_core.errors import TokenizerError
from xlm_core.tokenization.files.vocabulary_files import (
    read_merges,
    read_original_vocabulary,
    vocabulary_of_words,
)

# In the real codes of 15 languages stand three such lines; and pairs of no-break spaces that
# fastBPE, which splits at blanks, merges.
CODES = (
    "t h 100\nth e</w> 90\n\u00a0 \u00a0 7830\n\u00a0 \u00a0</w> 2059\n"
    "\u00a0 \u00a0\u00a0 1200\na t</w> 50\nt h 3\nc at</w> 2\n"
)
# Id 14 is "the"; what has no id: a lone word, three fields, U+2028, a second "the", a special word.
WORDS = (
    "the 500\ncat 400\nlonely\nthree fields 3\n\u2028 12\na\u2028b 11\nthe 9\n<pad> 8\n"
    "c@@ 300\nat 7\n\u00a0 6\n\u3000wide 5\nx\u00a0y 4\nt 3\nh 2\n@@ 1\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "codes_small").write_text(CODES, encoding="utf-8")
    (tmp_path / "vocab_small").write_text(WORDS, encoding="utf-8")
    return tmp_path


def test_ids_by_hand(folder: Path) -> None:
    words = read_original_vocabulary(folder / "vocab_small")
    assert words == [*SPECIAL, "the", "cat", "c@@", "at", "wide", "t", "h", "@@"]
    assert words == list(read_words(WORDS))
    vocabulary = vocabulary_of_words(words)
    subwords = ("the</w>", "cat</w>", "c", "at</w>", "wide</w>", "t</w>", "h</w>", "")
    assert tuple(vocabulary)[14:] == subwords
    assert vocabulary == as_transformers(read_words(WORDS))


@pytest.mark.parametrize("max_vocab", [14, 15, 17, 22, 1000, None])
def test_max_vocab(folder: Path, max_vocab: int | None) -> None:
    tokenizer = XLMTokenizer.from_facebook(
        folder / "codes_small", folder / "vocab_small", max_vocab=max_vocab
    )
    assert tokenizer.encoder == as_transformers(read_words(WORDS, max_vocab))
    assert tokenizer.mode == "original"
    assert tokenizer.vocab_size == min(max_vocab or 22, 22)


@pytest.mark.parametrize(("word", "cased"), [("Cat", True), ("Москва", False)])
def test_text_is_lowercased_as_that_of_the_vocabulary(folder: Path, word: str, cased: bool) -> None:
    (folder / "vocab_small").write_text(f"{WORDS}{word} 1\n", encoding="utf-8")
    files = folder / "codes_small", folder / "vocab_small"
    for made in (XLMTokenizer.from_facebook(*files), XLMTokenizer.from_pretrained(folder)):
        assert made.do_lowercase_and_remove_accent != cased
    given = XLMTokenizer.from_facebook(*files, do_lowercase_and_remove_accent=cased)
    assert given.do_lowercase_and_remove_accent == cased


def test_a_folder_of_the_original(folder: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder, lang="de")
    assert tokenizer.mode == "original"
    assert tokenizer.lang == "de"
    assert tokenizer("the cat").input_ids == [1, 14, 15, 1]
    assert tokenizer.tokenize("tha") == ["th", "a</w>"]
    assert XLMTokenizer.from_pretrained(folder, mode="v4")("the cat").input_ids == [0, 14, 15, 1]


def test_merges_and_their_ranks(folder: Path) -> None:
    ranks = read_merges(folder / "codes_small", original=True).ranks()
    assert ranks == {
        ("t", "h"): 6,  # the last counts
        ("th", "e</w>"): 1,
        ("\u00a0", "\u00a0"): 2,
        ("\u00a0", "\u00a0</w>"): 3,
        ("\u00a0", "\u00a0\u00a0"): 4,
        ("a", "t</w>"): 5,
        ("c", "at</w>"): 7,
    }
    # Read as transformers reads it, they merge nothing and keep their places.
    merges = read_merges(folder / "codes_small")
    assert merges.lines[2:5] == (("7830",), ("</w>", "2059"), ("1200",))
    assert merges.ranks()["a", "t</w>"] == 5


def test_dictionary(folder: Path) -> None:
    words = dict(enumerate(read_original_vocabulary(folder / "vocab_small")))
    of_file = XLMTokenizer.from_facebook(folder / "codes_small", folder / "vocab_small")
    of_words = XLMTokenizer.from_facebook(folder / "codes_small", words)
    assert of_words.encoder == of_file.encoder
    assert XLMTokenizer.from_facebook(folder / "codes_small", words, max_vocab=15).vocab_size == 15
    del words[16]
    with pytest.raises(TokenizerError, match="no word for id 16"):
        XLMTokenizer.from_facebook(folder / "codes_small", words)


def test_words_that_cannot_be_told_apart() -> None:
    with pytest.raises(TokenizerError, match=r"Words 14 and 15 .* both become 'c'"):
        vocabulary_of_words([*SPECIAL, "c@@", "@@c"])


def test_written_for_transformers_and_read_again(folder: Path, tmp_path: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "out")
    again = XLMTokenizer.from_pretrained(tmp_path / "out")
    assert again.mode == "original"
    for text in ("the cat at tha", "c h t thec", "a\u00a0\u00a0b"):
        assert again(text).input_ids == tokenizer(text).input_ids, text


@pytest.mark.parametrize("name", ["count", "negative", "fraction", "codes"])
def test_counts_are_numbers(folder: Path, name: str) -> None:
    line = {"count": "a b", "negative": "the -1", "fraction": "the 1.5", "codes": "t h"}[name]
    (folder / "vocab_small").write_text(f"the 5\n{line}\n")
    with pytest.raises(TokenizerError, match=r"Line 2 of .*vocab_small.* a word and its count"):
        XLMTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("max_vocab", [13, 0, -1])
def test_max_vocab_too_small(folder: Path, max_vocab: int) -> None:
    with pytest.raises(TokenizerError, match=f"max_vocab is {max_vocab}; the 14 special words"):
        XLMTokenizer.from_facebook(
            folder / "codes_small", folder / "vocab_small", max_vocab=max_vocab
        )


@pytest.mark.parametrize("names", [["codes_2"], ["vocab_2"], ["codes_2", "vocab_2"]])
def test_two_of_a_kind(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_text("a b 1\n")
    with pytest.raises(TokenizerError, match=r"found: codes_.*vocab_"):
        XLMTokenizer.from_pretrained(folder)
