"""BPE, short words and long ones, beside a naive one."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.tokenization.conftest import learned, merged
from xlm_core.tokenization.words import bpe as bpe_module
from xlm_core.tokenization.words.bpe import BPE, Pair


def naive(word: str, ranks: dict[Pair, int]) -> list[str]:
    """The lowest pair of neighbours merged wherever it stands, until there is none."""
    symbols = (*word[:-1], word[-1] + "</w>")
    while True:
        pairs = [pair for pair in pairwise(symbols) if pair in ranks]
        if not pairs:
            return list(symbols)
        symbols = merged(symbols, min(pairs, key=ranks.__getitem__))


def random_merges(random: Random, alphabet: str, count: int, *, shuffled: bool) -> dict[Pair, int]:
    """Merges of what there is already; `shuffled`, a pair may come before its parts."""
    symbols = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    pairs: list[Pair] = []
    while len(pairs) < count:
        pair = random.choice(symbols), random.choice(symbols)
        if pair not in pairs and not pair[0].endswith("</w>"):
            pairs.append(pair)
            symbols.append("".join(pair))
    if shuffled:
        random.shuffle(pairs)
    return {pair: rank for rank, pair in enumerate(pairs)}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, dict[Pair, int]]:
    random = Random(draw(st.integers(0, 10**6)))
    alphabet = "abc"[: draw(st.integers(1, 3))]
    ranks = random_merges(
        random, alphabet, draw(st.integers(0, 3)) * 4 % 9, shuffled=draw(st.booleans())
    )
    length = draw(st.sampled_from([1, 2, 3, 7, 40, 255, 256, 257, 300]))
    return "".join(random.choice(alphabet) for _ in range(length)), ranks


@given(case=cases())
@example(case=("ababax", {("ab", "a"): 0, ("a", "b"): 1}))
@example(case=("aaaaaaa", {("a", "a"): 0, ("aa", "a"): 1, ("aa", "aa"): 2}))
@example(case=("a" * 301, {("a", "a"): 0, ("aa", "a</w>"): 1, ("aa", "aa"): 2}))
def test_random_merges(case: tuple[str, dict[Pair, int]]) -> None:
    word, ranks = case
    assert BPE(ranks).split(word) == naive(word, ranks)


@pytest.mark.parametrize("shuffled", [False, True], ids=["ordered", "shuffled"])
def test_both_algorithms(monkeypatch: pytest.MonkeyPatch, shuffled: bool) -> None:
    """The long one does on short words what the other does."""
    random = Random(3)
    for _ in range(400):
        alphabet = "ab" if random.random() < 0.5 else "abc"
        count = random.randrange(1, 9 if alphabet == "ab" else 14)
        ranks = random_merges(random, alphabet, count, shuffled=shuffled)
        word = "".join(random.choice(alphabet) for _ in range(random.randrange(1, 30)))
        expected = naive(word, ranks)
        assert BPE(ranks).split(word) == expected, (word, ranks)
        with monkeypatch.context() as patched:
            patched.setattr(bpe_module, "_LONG_WORD", 0)
            assert BPE(ranks).split(word) == expected, (word, ranks)


def test_learned_merges() -> None:
    ranks = {pair: rank for rank, pair in enumerate(learned()[1])}
    random = Random(4)
    letters = [*"thecatsounimdrh", "the", "house", "is", "at"]
    for length in (*range(1, 12), 200, 500):
        word = "".join(random.choice(letters) for _ in range(length))
        assert BPE(ranks).split(word) == naive(word, ranks), word


def test_by_hand() -> None:
    bpe = BPE({("a", "b"): 0, ("ab", "c</w>"): 1, ("b", "c</w>"): 2, ("c", "c"): 3})
    assert bpe.split("abc") == ["abc</w>"]
    assert bpe.split("bc") == ["bc</w>"]
    assert bpe.split("ababc") == ["ab", "abc</w>"]
    assert bpe.split("cccc") == ["cc", "c", "c</w>"]
    assert bpe.split("x") == ["x</w>"]
    assert bpe.split("</w>") == ["<", "/", "w", "></w>"]
    assert BPE({}).split("ab") == ["a", "b</w>"]
