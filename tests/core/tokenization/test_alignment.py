"""Offsets and word numbers, by hand: what each subword came from in the text as it was given."""

# Characters that look like others are the purpose of this file.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours
from xlm_core import AddedToken, XLMTokenizer

MODES = ("v4", "v5", "original")


def aligned(tokenizer: XLMTokenizer, text: Any, **options: Any) -> tuple[list[str], list[Any]]:
    """Each token with begin and end, and the numbers of the words."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, **options)
    spans = encoding["offset_mapping"]
    tokens = zip(encoding.tokens(), spans, strict=True)
    return [
        f"{token.removesuffix('</w>')} {b}-{e}" for token, (b, e) in tokens
    ], encoding.word_ids()


def split_list(tokens: str) -> list[str]:
    """The tokens of a list with commas between; one of them may be a comma."""
    return re.split(", (?=\\S+ [0-9])", tokens) if tokens else []


# Text, tokens with their spans, words; tokens outside the vocabulary are <unk>.
BY_HAND: tuple[tuple[str, str, list[int]], ...] = (
    ("", "", []),
    (" \t \n", "", []),
    ("The House", "the 0-3, house 4-9", [0, 1]),
    ("  the \t cat ", "the 2-5, cat 8-11", [0, 1]),
    ("café", "c 0-1, a 1-2, f 2-3, e 3-4", [0, 0, 0, 0]),
    # A mark of its own is a word of its own to Moses, of which nothing is left.
    ("cafe\u0301 b", "c 0-1, a 1-2, f 2-3, e 3-4, b 6-7", [0, 0, 0, 0, 1]),
    ("a\u0301\u0323b", "a 0-1, b 3-4", [0, 1]),
    ("\u0301a", "a 1-2", [0]),
    # One character with a ligature, one that becomes three.
    ("ﬁt", "<unk> 0-1, t 1-2", [0, 0]),
    ("한", "<unk> 0-1, <unk> 0-1, <unk> 0-1", [0, 0, 0]),
    # One character that becomes three words' worth, and three that stay three.
    ("the…cat", "the 0-3, . 3-4, . 3-4, . 3-4, cat 4-7", [0, 1, 1, 1, 2]),
    ("the ... cat", "the 0-3, . 4-5, . 5-6, . 6-7, cat 8-11", [0, 1, 1, 1, 2]),
    ("a..b", "a 0-1, . 1-2, . 2-3, b 3-4", [0, 1, 1, 2]),
    # Quotes: with their no-break spaces, or not; two characters that become one.
    ("« oui »", '" 0-1, oui 2-5, " 6-7', [0, 1, 2]),
    ("«\u00a0oui\u00a0»", '" 0-1, oui 2-5, " 6-7', [0, 1, 2]),
    ("„b“", '" 0-1, b 1-2, " 2-3', [0, 1, 2]),
    ("''the'' cat", '" 0-2, the 2-5, " 5-7, cat 8-11', [0, 1, 2, 3]),
    ("``the``", '" 0-2, the 2-5, " 5-7', [0, 1, 2]),
    # In English a comma after a quote goes before it: where they stand stays in order.
    ('"the cat",', '" 0-1, the 1-4, cat 5-8, , 8-9, " 9-10', [0, 1, 2, 3, 4]),
    ('the ",cat', 'the 0-3, , 4-5, " 5-6, cat 6-9', [0, 1, 2, 3]),
    ("it's 'b'", "it 0-2, 's 2-4, ' 5-6, b 6-7, ' 7-8", [0, 1, 2, 3, 3]),
    ("10 % a", "1 0-1, 0 1-2, % 3-4, a 5-6", [0, 0, 1, 2]),
    ("( a )", "( 0-1, a 2-3, ) 4-5", [0, 1, 2]),
    ("a，b", "a 0-1, , 1-2, b 2-3", [0, 1, 2]),
    ("a。  b", "a 0-1, . 1-2, b 4-5", [0, 0, 1]),
    ("1\u00a0000", "1 0-1, . 1-2, 0 2-3, 0 3-4, 0 4-5", [0, 0, 0, 0, 0]),
    ("Mr. b, c", "mr. 0-3, b 4-5, , 5-6, c 7-8", [0, 1, 2, 3]),
    ("the <special1> cat</s>", "the 0-3, <special1> 4-14, cat 15-18, </s> 18-22", [0, 1, 2, 3]),
    ("<special1><special1>", "<special1> 0-10, <special1> 10-20", [0, 1]),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("text", "tokens", "words"), BY_HAND)
def test_by_hand(mode: str, text: str, tokens: str, words: list[int]) -> None:
    assert aligned(new_ours(mode=mode), text) == (split_list(tokens), words)


@pytest.mark.parametrize(
    ("text", "tokens", "words"),
    [
        # Capital I with a dot: lowercased first, its dot is a word of its own to Moses.
        ("İst", {"v4": "i 0-1, st 1-3", "v5": "ist 0-3", "original": "ist 0-3"}, ([0, 1], [0])),
        ("Σa Σ", dict.fromkeys(MODES, "σ 0-1, a 1-2, σ 3-4"), ([0, 0, 1],)),
        ("aΣ", {"v4": "a 0-1, σ 1-2", "v5": "a 0-1, ς 1-2", "original": "a 0-1, ς 1-2"}, ([0, 0],)),
        # Deleted inside a word: it belongs to the subword before it. Perl writes a blank.
        (
            "so\u00adft",
            {
                "v4": "s 0-1, o 1-3, f 3-4, t 4-5",
                "v5": "s 0-1, o 1-3, f 3-4, t 4-5",
                "original": "s 0-1, o 1-2, f 3-4, t 4-5",
            },
            ([0, 0, 0, 0], [0, 0, 1, 1]),
        ),
        (
            "a\u200cb",
            {"v4": "a 0-2, b 2-3", "v5": "a 0-2, b 2-3", "original": "a 0-1, b 2-3"},
            ([0, 0], [0, 1]),
        ),
        # The last period is one of its own to Perl, and to sacremoses without a known abbreviation.
        (
            "a Mr.",
            {
                "v4": "a 0-1, m 2-3, r 3-4, . 4-5",
                "v5": "a 0-1, mr. 2-5",
                "original": "a 0-1, m 2-3, r 3-4, . 4-5",
            },
            ([0, 1, 1, 2], [0, 1]),
        ),
        # Marks that are letters to Moses stay in the word until accents go: their letter has them.
        ("ku\u0941 k\u05b0", dict.fromkeys(MODES, "k 0-1, u 1-3, k 4-6"), ([0, 0, 1],)),
        # One character, several subwords; each syllable is a word of its own to sacremoses.
        (
            "한한",
            dict.fromkeys(MODES, ", ".join(["<unk> 0-1"] * 3 + ["<unk> 1-2"] * 3)),
            ([0, 0, 0, 1, 1, 1], [0] * 6),
        ),
        ("a\u200b b", dict.fromkeys(MODES, "a 0-1, b 3-4"), ([0, 1],)),
        (
            "the\ncat",
            {"v4": "the 0-4, cat 4-7", "v5": "the 0-4, cat 4-7", "original": "the 0-3, cat 4-7"},
            ([0, 0], [0, 1]),
        ),
        (
            "a b.",
            {
                "v4": "a 0-1, b 2-3, . 3-4",
                "v5": "a 0-1, b 2-3, . 3-4",
                "original": "a 0-1, b 2-3, . 3-4",
            },
            ([0, 1, 2], [0, 1, 1]),
        ),
    ],
    ids=lambda value: ascii(value) if isinstance(value, str) else "",
)
def test_by_hand_where_modes_differ(
    text: str, tokens: dict[str, str], words: tuple[list[int], ...]
) -> None:
    for mode in MODES:
        found = aligned(new_ours(mode=mode), text)
        assert ", ".join(found[0]) == tokens[mode], mode
        assert found[1] in words, mode


def test_cased() -> None:
    tokenizer = new_ours(do_lowercase_and_remove_accent=False, mode="v5")
    tokens, words = aligned(tokenizer, "The Abé é")
    assert tokens == ["T 0-1", "he 1-3", "A 4-5", "b 5-6", "é 6-7", "é 8-9"]
    assert words == [0, 0, 1, 1, 1, 2]


def test_added_tokens() -> None:
    """The token alone: blanks that lstrip and rstrip give it are none of its characters."""
    tokenizer = new_ours()
    tokenizer.add_tokens([AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True), "Foo b"])
    tokens, words = aligned(tokenizer, "a  <l> b <r>  FOO B c")
    assert tokens == ["a 0-1", "<l> 3-6", "b 7-8", "<r> 9-12", "foo b 14-19", "c 20-21"]
    assert words == [0, 1, 2, 3, 4, 5]
    # Split like words, they are none.
    tokens, words = aligned(tokenizer, "<special1>", split_special_tokens=True)
    assert tokens[0] == "<unk> 0-1"
    assert tokens[-1] == "<unk> 9-10"


def test_words_that_a_caller_split() -> None:
    """Offsets count from the beginning of each word, as fast tokenizers give them."""
    for mode in MODES:
        tokenizer = new_ours(mode=mode)
        words = ["The", "Cat,", "", "it's", "…", "<special1>", "the cat"]
        tokens, numbers = aligned(tokenizer, words, is_split_into_words=True)
        assert tokens == [
            *("the 0-3", "cat 0-3", ", 3-4", "it 0-2", "'s 2-4", ". 0-1", ". 0-1", ". 0-1"),
            *("<special1> 0-10", "the 0-3", "cat 4-7"),
        ]
        assert numbers == [0, 1, 1, 3, 3, 4, 4, 4, 5, 6, 6]


def test_bypass() -> None:
    tokens, words = aligned(new_ours(), "the  Cat.\u3000x", bypass_tokenizer=True)
    assert tokens[0] == "the 0-3"
    assert tokens[1] == "C 5-6"
    assert tokens[-1] == "x 10-11"
    assert words == [0, *[1] * (len(words) - 2), 2]


def test_pairs_padding_and_truncation() -> None:
    tokenizer = new_ours()
    options: dict[str, Any] = {"return_offsets_mapping": True}
    encoding = tokenizer("The cat", " a", padding="max_length", max_length=8, **options)
    assert encoding["offset_mapping"] == [
        *((0, 0), (0, 3), (4, 7), (0, 0), (1, 2), (0, 0), (0, 0), (0, 0)),
    ]
    assert encoding.word_ids() == [None, 0, 1, None, 0, None, None, None]
    assert encoding.sequence_ids() == [None, 0, 0, None, 1, None, None, None]
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    encoding = tokenizer(["The cat b", "a"], padding=True, truncation=True, max_length=4, **options)
    assert encoding["offset_mapping"] == [
        [(0, 0), (4, 7), (8, 9), (0, 0)],
        [(0, 0), (0, 0), (0, 1), (0, 0)],
    ]
    assert encoding.word_ids(0) == [None, 1, 2, None]
    assert encoding.word_ids(1) == [None, None, 0, None]


def test_windows() -> None:
    """Windows of a text count in the text, not from their own beginnings."""
    encoding = new_ours()(
        "the cat b c a",
        return_windows=True,
        return_offsets_mapping=True,
        truncation=True,
        max_length=5,
        stride=1,
    )
    assert encoding["offset_mapping"] == [
        [(0, 0), (0, 3), (4, 7), (8, 9), (0, 0)],
        [(0, 0), (8, 9), (10, 11), (12, 13), (0, 0)],
    ]
    assert [encoding.word_ids(row) for row in (0, 1)] == [
        [None, 0, 1, 2, None],
        [None, 2, 3, 4, None],
    ]
