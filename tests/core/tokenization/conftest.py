"""A small vocabulary that a learner of BPE made from a few sentences, ours and transformers'."""

# Letters of other scripts that look like Latin ones are meant.
# ruff: noqa: RUF001

from __future__ import annotations

import atexit
import functools
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers.models.xlm.tokenization_xlm import XLMTokenizer as Peer

from tests.core.tokenization.counting_tokenizer import Stub, make_pair
from xlm_core import XLMTokenizer

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
SENTENCES = """
    the cat sat on the mat and the other cat sat there . then they went to the house of mr. smith ,
    where there is a house that the cats like ; it 's theirs , he said : " that is 10 % of the 250
    houses ! " is it ? yes - that 's the one ( the old one ) .
    le chat est dans la maison de l' homme qui a dit « oui » . la maison est à lui , n' est-ce pas ?
    die katze ist in dem haus des mannes , der ja gesagt hat . das haus ist schön .
    кошка сидит в доме . это дом , который он построил . η γατα ειναι στο σπιτι .
    The House of Mr. Smith is New . Das Haus ist Alt .
"""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"-()%«»éàöкошдомсижтΣσςαηABCDHMNST"


@functools.cache
def learned(merges: int = 150) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Id of each subword, and the pairs in the order in which BPE learned to merge them."""
    counts = Counter((*word[:-1], word[-1] + "</w>") for word in SENTENCES.split())
    pairs: list[tuple[str, str]] = []
    while len(pairs) < merges:
        seen: Counter[tuple[str, str]] = Counter()
        for symbols, count in counts.items():
            for pair in pairwise(symbols):
                seen[pair] += count
        best = max(seen, key=lambda pair: (seen[pair], pair))
        pairs.append(best)
        counts = Counter({merged(symbols, best): count for symbols, count in counts.items()})
    letters = [letter + end for letter in LETTERS for end in ("", "</w>")]
    tokens = dict.fromkeys((*SPECIAL, *letters, *map("".join, pairs)))
    return {token: i for i, token in enumerate(tokens)}, tuple(pairs)


def merged(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """`symbols` with `pair` merged wherever it stands, from left to right."""
    result: list[str] = []
    at = 0
    while at < len(symbols):
        width = 2 if symbols[at : at + 2] == pair else 1
        result.append("".join(symbols[at : at + width]))
        at += width
    return tuple(result)


def write_files(folder: Path) -> tuple[Path, Path]:
    """vocab.json and merges.txt in `folder`."""
    vocabulary, pairs = learned()
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "vocab.json", folder / "merges.txt"
    files[0].write_text(json.dumps(vocabulary), encoding="utf-8")
    files[1].write_text("".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    return files


@functools.cache
def small() -> tuple[Path, Path]:
    """vocab.json and merges.txt in a temporary folder of this process, for tests of Hypothesis."""
    temporary = tempfile.TemporaryDirectory(prefix="xlm-small-")
    atexit.register(temporary.cleanup)
    return write_files(Path(temporary.name))


def new_ours(**settings: Any) -> XLMTokenizer:
    """A tokenizer of the small vocabulary."""
    return XLMTokenizer(*small(), **settings)


def new_peer(**settings: Any) -> Any:
    """One of transformers; its default list of special tokens would be shared by all of them."""
    settings.setdefault("additional_special_tokens", [f"<special{i}>" for i in range(10)])
    return Peer(*map(str, small()), **settings)


@pytest.fixture
def make_tokenizer() -> Callable[..., XLMTokenizer]:
    """Makes a tokenizer of the small vocabulary."""
    return new_ours


@pytest.fixture
def make_peer() -> Callable[..., Any]:
    """Makes one of transformers of the same vocabulary."""
    return new_peer


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The stub and transformers', of the same few letters."""
    return make_pair(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def ours(pair: tuple[Any, Any]) -> Any:
    """A stub of each test's own."""
    return Stub(pair[1])
