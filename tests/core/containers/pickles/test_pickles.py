"""The pickle machine gives what Python's gives, for every plain value and protocol."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.containers import set_limits
from xlm_core.containers.pickles import load
from xlm_core.containers.pickles.writing import pickled
from xlm_core.containers.sources import MemorySource
from xlm_core.containers.torch_files.globals import find
from xlm_core.errors import CheckpointError

PROTOCOLS = (2, 3, 4, 5)


def run(content: bytes, names: Callable[[str], Any] = find) -> Any:
    value, end = load(MemorySource(np.frombuffer(content, np.uint8), "x.pkl"), names=names)
    assert end == len(content)
    return value


def typed(value: Any) -> Any:
    """A value of which equality also compares types, order, the sign of zero, and NaN."""
    if isinstance(value, dict):
        return "dict", [(typed(key), typed(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, value))
    if isinstance(value, float) and math.isnan(value):
        return float, "nan"
    return type(value), repr(value)


keys = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.tuples(st.text(max_size=3), st.integers(-5, 5)),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**500), 2**500),
    st.floats(),
    st.text(),
    st.binary(),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
    max_leaves=30,
)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(value=values)
def test_same_as_python(protocol: int, value: Any) -> None:
    content = pickle.dumps(value, protocol)
    assert typed(run(content)) == typed(pickle.loads(content)) == typed(value)


@given(value=values)
def test_what_is_written_is_read(value: Any) -> None:
    """By Python's machine and by this one."""
    content = pickled(value)
    assert typed(pickle.loads(content)) == typed(run(content)) == typed(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("window", [17, 40, 1000])
def test_windows(protocol: int, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickle is read in pieces; nothing depends on where one ends."""
    set_limits(monkeypatch, pickle_window=window)
    value = {
        "texts": ["", "é" * 30, "x" * 300, "word"] * 20,
        "numbers": [0, 255, 256, 65535, 65536, -1, 2**31, -(2**63), 2**200, 0.5] * 20,
        "bytes": b"\xff" * 2000,
        "many": {f"word {index}": index for index in range(500)},
        "sets": ({1, 2}, frozenset("ab")),
    }
    content = pickle.dumps(value, protocol)
    assert typed(run(content)) == typed(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dictionaries_of_words(protocol: int) -> None:
    """In any order of words, and more than one batch; keys that count up, in any number."""
    words = {f"w{index * 7919 % 30_011}": index for index in range(30_000)}
    value = [words, {index: word for word, index in words.items()}]
    assert run(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_parts_stay_shared(protocol: int) -> None:
    inner = [1]
    first, second = run(pickle.dumps((inner, {"a": inner}), protocol))
    assert first is second["a"]


def test_protocol_2_of_python_2() -> None:
    """Its texts of bytes are UTF-8, and cPickle numbered values from 1."""
    assert run(b"\x80\x02]q\x01(U\x03abcq\x02T\x02\0\0\0\xc3\xa9q\x03h\x02e.") == [
        "abc",
        "é",
        "abc",
    ]


def test_position_and_what_follows() -> None:
    content = b"....." + pickle.dumps([1], 2) + b"junk"
    assert load(MemorySource(np.frombuffer(content, np.uint8)), 5) == ([1], len(content) - 4)


def test_names_of_the_table() -> None:
    """What stands for a name may also be a value."""
    assert run(b"\x80\x02ca\nb\n.", {"a.b": "value"}.get) == "value"
    assert run(b"\x80\x04\x8c\x01a\x8c\x01b\x93.", {"a.b": "value"}.get) == "value"
    with pytest.raises(CheckpointError, match=r"asks for a\.c, which"):
        run(b"\x80\x02ca\nc\n.", {"a.b": "value"}.get)
