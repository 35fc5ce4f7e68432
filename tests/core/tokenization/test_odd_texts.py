"""What no text should be: refused by name, or tokenized all the same and in time."""

# Characters that look like others are meant.
# ruff: noqa: RUF001

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours, new_peer, small
from xlm_core import InputError, UnknownArgumentError, XLMTokenizer

MODES = pytest.mark.parametrize("mode", ["v4", "v5", "original"])
MILLION = 1 << 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "None"),
        (b"the", r"(?i)bytes.*decode"),
        (5, "int"),
        (5.0, "float"),
        (True, "bool"),
        ({"a": "b"}, "dict"),
        (["the", None], "NoneType|None"),
        (["the", b"cat"], r"bytes.*decode"),
        (["the", 5], "int"),
        ([["the"], "cat"], "mixes pairs and single sequences"),
        pytest.param(object(), "object", id="object"),
    ],
    ids=repr,
)
def test_no_text(text: Any, message: str) -> None:
    tokenizer = new_ours()
    for options in ({}, {"return_offsets_mapping": True}):
        with pytest.raises(InputError, match=message if text is not None else "neither text nor"):
            tokenizer(text, **options)
    if not isinstance(text, list):
        with pytest.raises(InputError, match="A text is a str; got"):
            tokenizer.tokenize(text)
    with pytest.raises(InputError):
        tokenizer.encode(text)
    if text is not None:
        with pytest.raises(InputError):
            tokenizer("the", text)


@MODES
@pytest.mark.parametrize("text", ["", " ", " \t\n\u3000\u00a0 ", "\x00", "\u200b\ufeff", "\u0301"])
def test_nothing(mode: str, text: str) -> None:
    tokenizer = new_ours(mode=mode)
    frame = tokenizer.build_inputs_with_special_tokens([])
    assert tokenizer.tokenize(text) == []
    assert tokenizer(text).input_ids == tokenizer.encode(text) == frame
    assert tokenizer([text, "a"]).input_ids == [frame, [frame[0], 15, 1]]
    assert tokenizer(text, return_offsets_mapping=True)["offset_mapping"] == [(0, 0)] * 2
    assert tokenizer(text, text).input_ids == tokenizer.build_inputs_with_special_tokens([], [])
    words = tokenizer([text, "a", text], is_split_into_words=True, add_special_tokens=False)
    assert words.input_ids == [15]
    assert words.word_ids() == [1]


@MODES
def test_an_empty_batch(mode: str) -> None:
    tokenizer = new_ours(mode=mode)
    assert tokenizer([]).input_ids == []
    assert tokenizer([], padding=True).input_ids == []
    assert tokenizer.batch_decode([]) == []


BROKEN = (
    "a\ud800b the\udc00",
    "\ud800",
    "\ud83d\ude00 cat",
    "the\x00cat \x00 a\x00",
    "a\x01b\x7fc\x85d\x1fe",
    "a\uffffb\U0010ffff\ufdd0",
    "a\ue000b \uf8ff",
    "a\u0378b",
    "é\ud800\u0301.\udfff. 'x\ud800'",
)


@pytest.mark.parametrize("lower", [True, False], ids=["lower", "cased"])
@pytest.mark.parametrize("text", BROKEN, ids=ascii)
def test_surrogates_and_control_characters(text: str, lower: bool) -> None:
    settings = {"do_lowercase_and_remove_accent": lower}
    peer = new_peer(**settings)
    v4 = new_ours(**settings)
    assert v4(text).input_ids == peer(text).input_ids
    assert v4.tokenize(text) == peer.tokenize(text)
    assert new_ours(mode="v5", **settings).tokenize(text) == peer._tokenize(text)
    # The original writes a blank in the place of each.
    original = new_ours(mode="original", **settings)
    assert original(text).input_ids == original(blanks(text)).input_ids
    for tokenizer in (v4, original):
        offsets = tokenizer(text, return_offsets_mapping=True)
        assert offsets.input_ids == tokenizer(text).input_ids


def blanks(text: str) -> str:
    """A blank for each character of category C, private use and unassigned ones included."""
    kept = set("abcdthe é.'x\u0301")
    return "".join(char if char in kept else " " for char in text)


def test_surrogates_elsewhere() -> None:
    tokenizer = new_ours()
    assert tokenizer.tokenize("\ud800 the", bypass_tokenizer=True) == ["\ud800</w>", "the</w>"]
    assert tokenizer.convert_tokens_to_ids("\ud800") == 3
    assert tokenizer.add_tokens("\ud800x") == 1
    assert tokenizer.tokenize("a \ud800x") == ["a</w>", "\ud800x"]


# -- long texts -----------------------------------------------------------------------------------


def seconds(work: Callable[[int], Any], times: int) -> float:
    """Time of the processor, which other processes do not lengthen much."""
    begin = time.process_time()
    work(times)
    return time.process_time() - begin


@pytest.mark.parametrize(
    ("mode", "alphabet"),
    [("v4", "a"), ("v4", "abcdefghijklmnopqrstuvwxyz"), ("v5", "theca"), ("original", "theca")],
)
def test_two_megabytes_in_one_word(mode: str, alphabet: str) -> None:
    random = Random(6)
    # Two whole ones once; a quarter of that shows as well what grows faster than the word.
    size = 2 * MILLION if alphabet == "theca" and mode == "v5" else MILLION // 2
    word = "".join(random.choices(alphabet, k=size))
    tokenizer = new_ours(mode=mode)
    begin = time.process_time()
    ids = tokenizer(word, verbose=False, add_special_tokens=False).input_ids
    assert time.process_time() - begin < 8
    assert len("".join(tokenizer.convert_ids_to_tokens(ids))) == len(word) + len("</w>")
    # As a short word: the letters before are those of the same beginning.
    start = tokenizer(word[:200], add_special_tokens=False).input_ids
    assert ids[:40] == start[:40]


@MODES
@pytest.mark.parametrize("unit", [".", "'", '."', " ", "\u0301", "\u3000", "\n"], ids=ascii)
def test_a_megabyte(mode: str, unit: str) -> None:
    # A whole one in one mode, a quarter in the others.
    size = MILLION if mode == "v4" else MILLION // 4
    text = "a" + unit * (size // len(unit)) + "b"
    tokenizer = new_ours(mode=mode)
    begin = time.process_time()
    ids = tokenizer(text, verbose=False).input_ids
    assert time.process_time() - begin < 8
    assert len(ids) >= 3


REPEATED = (
    *(
        ".",
        "'",
        '."',
        '".',
        ',"',
        "a'",
        "' ",
        "`",
        "5,",
        ". ",
        "a.",
        "DOTMULTI.",
        "DOT",
        "( ",
        ") ",
    ),
    *("\u0301", "\u0323\u0301", "\u093e", "\u3002", "\u3002\u3000", "´´", "«\u00a0", "\u00a0", "."),
    *("a\n", "\x00", "<s", "<special1>", "\ud800", "한", "ﬁ", "İ", "Σ", "漢", "."),
)


@pytest.mark.parametrize(
    ("mode", "lang"), [("v4", "en"), ("v5", "de"), ("original", "en"), ("original", "de")]
)
def test_linear_time(mode: str, lang: str) -> None:
    """Four times the text takes about four times as long: never as a square, sixteen times."""
    tokenizer = new_ours(mode=mode)
    slow = []
    for unit in dict.fromkeys(REPEATED):
        for offsets, size in ((False, 4000), (True, 600)):

            def work(
                times: int, unit: str = unit, size: int = size, *, all_: bool = offsets
            ) -> None:
                # With what lets the rules for quotes and runs of periods look at it.
                text = unit * (size * times // len(unit)) + ' ."x DOTMULTI.'
                encoding = tokenizer(text, lang=lang, verbose=False, return_offsets_mapping=all_)
                assert encoding["offset_mapping" if all_ else "input_ids"]

            # Looked at again before it is called slow.
            if all(seconds(work, 4) > 11 * seconds(work, 1) + 0.02 for _ in range(3)):
                slow.append((unit, offsets))
    assert not slow


# -- arguments ------------------------------------------------------------------------------------


def test_unknown_arguments() -> None:
    tokenizer = new_ours()
    folder = small()[0].parent
    for call in (
        lambda: tokenizer("a", is_pretokenized=True),
        lambda: tokenizer(["a"], is_pretokenized=True),
        lambda: tokenizer.encode("a", is_pretokenized=True),
        lambda: tokenizer.decode([1], is_pretokenized=True),
        lambda: tokenizer.batch_decode([[1]], is_pretokenized=True),
        lambda: tokenizer.add_special_tokens({"is_pretokenized": "<p>"}),
        lambda: XLMTokenizer.from_pretrained(folder, is_pretokenized=True),
        lambda: XLMTokenizer(*small(), is_pretokenized=True),
    ):
        with pytest.raises(UnknownArgumentError, match="'is_pretokenized'"):
            call()
    # A plain signature is refused by Python itself, by name as well.
    with pytest.raises(TypeError, match="'is_pretokenized'"):
        tokenizer.tokenize("a", is_pretokenized=True)  # type: ignore[call-arg]
