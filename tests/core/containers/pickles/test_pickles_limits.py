"""Pickles that would never end, or fill the memory: each ends in an error within seconds."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.support.containers import set_limits
from xlm_core.containers.pickles import load
from xlm_core.containers.sources import MemorySource
from xlm_core.containers.torch_files.globals import find
from xlm_core.errors import CheckpointError

MANY = 300_000


def run(content: bytes) -> Any:
    return load(MemorySource(np.frombuffer(content, np.uint8), "x.pth"), names=find)[0]


def refused(content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        run(content)


def plain(value: Any) -> bytes:
    return pickle.dumps(value, 2)


# -- depth, cycles and repetition ----------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"]" * MANY + b"a" * (MANY - 1),
        b"N" + b"\x85" * MANY,
        b"(" * MANY + b"t" * MANY,
        b"}" + b"K\x01}" * MANY + b"s" * MANY,
    ],
    ids=["lists", "tuples", "marks", "dictionaries"],
)
def test_deep(content: bytes) -> None:
    refused(b"\x80\x02" + content + b".", "more than 200 deep")


def test_deep_key() -> None:
    refused(b"\x80\x02}N" + b"\x85" * MANY + b"Ns.", "a key is a tuple that is long, or not")


def test_depth_that_is_allowed() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value, 1]
    assert run(plain(value)) == value


def test_cycles() -> None:
    own: list[Any] = []
    own.append(own)
    table: dict[str, Any] = {}
    table["a"] = [table]
    for value in (own, table, [1, own]):
        refused(plain(value), "deep in each other, or in themselves")


@pytest.mark.parametrize("make", [list, tuple], ids=["lists", "tuples"])
def test_twice_the_one_before(make: Any) -> None:
    value: Any = make("ab")
    for _ in range(100):
        value = make([value, value])
    refused(plain(value), "written in full")


def test_long_text_again_and_again() -> None:
    text = "x" * 100_000
    assert run(plain([text] * 10))[9] == text
    refused(plain([text] * 100_000), "written in full")
    refused(plain([{text: 1}] * 100_000), "written in full")


def test_words_in_several_dictionaries() -> None:
    """What checkpoints do is no repetition."""
    words = [f"some-word-{index}" for index in range(20_000)]
    value = [dict.fromkeys(words, index) for index in range(5)]
    assert run(plain(value)) == value


# -- amounts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [b"]", b"}", b"\x8f", b")\x85"])
def test_many_containers(opcode: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An opcode of one byte makes an object of up to 216 bytes."""
    set_limits(monkeypatch, pickle_containers=5_000)
    assert len(run(b"\x80\x04(" + opcode * 4_999 + b"t.")) == 4_999
    refused(b"\x80\x04(" + opcode * 5_001 + b"t.", "builds more than 5,000 objects")


def test_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, pickle_containers=5_000)
    content = b"\x80\x02ccollections\nOrderedDict\nq\x00)q\x01(" + b"h\x00h\x01R" * 5_001 + b"t."
    refused(content, "builds more than 5,000 objects")


def test_many_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, pickle_opcodes=1000)
    assert len(run(b"\x80\x02(" + b"N" * 990 + b"t.")) == 990
    refused(b"\x80\x02(" + b"N" * 1000 + b"t.", "more than 1,000 opcodes")


@pytest.mark.parametrize(
    "name", [b"c__builtin__\nset\n", b"c__builtin__\nfrozenset\n", b"c_codecs\nencode\n"]
)
def test_copies_of_copies(name: bytes) -> None:
    """A few bytes that copy a long list or text, a hundred thousand times."""
    start = b"\x80\x04(" + name + b"\x94" + arguments_of(name)
    refused(start + b"h\x00h\x01R" * 100_000 + b"t.", "copies the same content again and again")


def arguments_of(name: bytes) -> bytes:
    """A tuple of arguments, numbered 1."""
    if b"codecs" in name:
        return b"(X" + (50_000).to_bytes(4, "little") + b"x" * 50_000 + b"X\x06\0\0\0latin1t\x94"
    words = b"".join(b"\x8c\x05%05d" % index for index in range(50_000))
    return b"](" + words + b"e\x85\x94"


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [b"x" * 3, frozenset("a"), (1, (2,)), tuple(range(9)), ("x" * 1001,), 2**64, -(2**63) - 1],
)
def test_keys_of_other_kinds(key: Any) -> None:
    refused(pickle.dumps({key: 1}, 4), "a key is")
    refused(pickle.dumps({key}, 4), "a key is")


def test_keys_that_could_collide() -> None:
    """Numbers and tuples of which the file chooses the hash, up to a limit that harms nobody."""
    spread = [index << 40 for index in range(20_000)]
    for make in (dict.fromkeys, set, frozenset):
        assert run(pickle.dumps(make(spread[:10_000]), 4)) == make(spread[:10_000])
        refused(pickle.dumps(make(spread), 4), "keys are numbers that do not count up")
    refused(plain(dict.fromkeys(float(index) for index in range(20_000))), "do not count up")
    refused(plain(dict.fromkeys((index,) for index in range(1_001))), "1,000 are tuples")
    refused(plain([dict.fromkeys([key]) for key in spread]), "keys are numbers that do not")


def test_a_million_colliding_keys() -> None:
    """Multiples of the modulus of the hash all have the hash 0: this would take hours."""
    modulus = 2**61 - 1
    pairs = itertools.product(range(8), repeat=2)
    assert {hash(a * modulus) for a, _ in pairs} == {0}
    step = 1 << 20
    content = b"".join(b"\x8a\x05" + (i * step).to_bytes(5, "little") + b"N" for i in range(MANY))
    refused(b"\x80\x02}(" + content + b"u.", "keys are numbers that do not count up")


def test_keys_that_count_up_from_anywhere_small() -> None:
    value = dict.fromkeys(range(200, 100_000))
    assert run(plain(value)) == value
    assert list(run(plain({3: 1, 1: 2, 2: 3}))) == [3, 1, 2]


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"Nr\xff\xff\xff\xff.",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little"),
        b"\x80\x04\x95" + (2**63).to_bytes(8, "little"),
        b"\x80\x02" + b"]" * 20_000,
        b"\x80\x04" + b"\x8f" * 20_000,
    ],
)
def test_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            run(content)
        assert tracemalloc.get_traced_memory()[1] < 300 * len(content) + 300_000
    finally:
        tracemalloc.stop()
