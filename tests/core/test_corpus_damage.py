"""A corpus is refused when anything in its files is off."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_corpus import FILES, write
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMTokenizer
from xlm_core.corpus import INFO_FILE, POSITIONS_FILE, SENTENCES_FILE, Corpus
from xlm_core.errors import CorpusError


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.en"


def save(file: Path, array: np.ndarray[Any, Any], **more: Any) -> None:
    with file.open("wb") as stream:
        np.save(stream, array, **more)


def edit(values: dict[str, Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        info = json.loads((path / INFO_FILE).read_text())
        (path / INFO_FILE).write_text(json.dumps({**info, **values}))

    return damage


def without(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        info = json.loads((path / INFO_FILE).read_text())
        del info[name]
        (path / INFO_FILE).write_text(json.dumps(info))

    return damage


def text(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / INFO_FILE).write_bytes(content) and None


def positions(change: Callable[[np.ndarray[Any, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        array = np.load(path / POSITIONS_FILE)
        found = change(array)
        save(path / POSITIONS_FILE, array if found is None else found)

    return damage


def put(*index_and_value: int) -> Callable[[Path], None]:
    row, column, value = index_and_value
    return positions(lambda array: array.__setitem__((row, column), value))


def ids(change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[Path], None]:
    return lambda path: save(path / SENTENCES_FILE, change(np.load(path / SENTENCES_FILE)))


def resized(name: str, by: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:by] if by < 0 else content + bytes(by))

    return damage


def malicious(path: Path) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(path / "executed"),)

    save(path / SENTENCES_FILE, np.array([Call()] * 15, dtype=object), allow_pickle=True)


def malicious_pickle(path: Path) -> None:
    class Call:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(path / "executed"),)

    (path / SENTENCES_FILE).write_bytes(pickle.dumps(Call()))


def archive(path: Path) -> None:
    with (path / SENTENCES_FILE).open("wb") as stream:
        np.savez(stream, a=np.zeros(15, dtype=np.uint16))


def header(text: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = text.encode() + b"\n"
        magic = b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little")
        (path / SENTENCES_FILE).write_bytes(magic + content + bytes(30))

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no info": (lambda path: (path / INFO_FILE).unlink(), "is no corpus"),
    "no ids": (lambda path: (path / SENTENCES_FILE).unlink(), "incomplete"),
    "no positions": (lambda path: (path / POSITIONS_FILE).unlink(), "incomplete"),
    "info cut": (text(b'{"version": 1,'), "damaged"),
    "info not UTF-8": (text(b'{"version": "\xff"}'), "damaged"),
    "info deep": (text(b"[" * 100_000), "damaged"),
    "info long number": (text(b'{"version": ' + b"1" * 5000 + b"}"), "damaged"),
    "info a list": (text(b"[]"), "no object"),
    "version": (edit({"version": 2}), "version 2"),
    "no version": (without("version"), "version None"),
    "no mode": (without("mode"), "mode=Ellipsis"),
    "languages": (edit({"languages": "en"}), "languages='en'"),
    "a language": (edit({"languages": [7]}), "expected names"),
    "a truth": (edit({"tokens": True}), "tokens=True"),
    "a fraction": (edit({"tokens": 9.0}), "tokens=9.0"),
    "negative": (edit({"tokens": -1}), "out of range"),
    "huge": (edit({"tokens": 1 << 60}), "out of range"),
    "huge vocabulary": (edit({"vocab_size": 1 << 40}), "vocab_size=1099511627776"),
    "eos": (edit({"eos_id": 34}), "eos_id=34"),
    "more sentences": (edit({"sentences": 7}), r"expected uint16 of shape \(16,\)"),
    "sentences for tokens": (edit({"sentences": 5, "tokens": 10}), r"expected int64 of shape"),
    "ids cut": (resized(SENTENCES_FILE, -1), "is truncated: 157 bytes, expected 158"),
    "ids long": (resized(SENTENCES_FILE, 1), "more than its array"),
    "positions cut": (resized(POSITIONS_FILE, -8), "is truncated"),
    "positions long": (resized(POSITIONS_FILE, 16), "more than its array"),
    "header cut": (resized(SENTENCES_FILE, -100), "damaged"),
    "empty file": (resized(SENTENCES_FILE, -158), "damaged"),
    "ids int32": (ids(lambda array: array.astype(np.int32)), "holds int32"),
    "ids big-endian": (ids(lambda array: array.astype(">u2")), "holds >u2"),
    "ids in a row": (ids(lambda array: array[None]), r"shape \(1, 15\)"),
    "positions int32": (positions(lambda array: array.astype(np.int32)), "holds int32"),
    "positions Fortran": (positions(lambda array: np.asfortranarray(array)), "positions.npy"),
    "positions turned": (positions(lambda array: array.T.copy()), r"shape \(2, 6\)"),
    "first begins late": (put(0, 0, 1), "sentence 0 is said to go from 1"),
    "negative position": (put(0, 0, -1), "sentence 0 is said to go from -1"),
    "descending": (put(2, 1, 3), "sentence 2 is said to go from 4 to 3"),
    "gap": (put(1, 1, 4), "sentence 2 is said"),
    "beyond": (put(5, 1, 15), "sentence 5 is said"),
    "far beyond": (put(5, 1, 2**63 - 1), "sentence 5 is said"),
    "ends early": (put(5, 1, 13), "end at 14, the ids at 15"),
    "swapped": (positions(lambda array: array[[0, 2, 1, 3, 4, 5]]), "sentence 1 is said"),
    "objects": (malicious, "holds object"),
    "a pickle": (malicious_pickle, "damaged"),
    "an archive": (archive, "damaged"),
    "header of code": (header("__import__('os').getcwd()"), "damaged"),
    "header with too much": (
        header("{'descr': '<u2', 'fortran_order': False, 'shape': (15,), 'more': 1}"),
        "damaged",
    ),
    "header without a shape": (
        header("{'descr': '<u2', 'fortran_order': False, 'shape': (-15,)}"),
        "expected uint16",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(path: Path, tokenizer: XLMTokenizer, name: str) -> None:
    damage, message = DAMAGE[name]
    write(path, tokenizer)
    Corpus.open(path, tokenizer)
    damage(path)
    with pytest.raises(CorpusError, match=message):
        Corpus.open(path, tokenizer)
    assert not (path / "executed").exists()


@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_damaged_byte(tmp_path_factory: Any, name: str, data: Any) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    tokenizer = small_tokenizer(folder / "files")
    path = folder / "corpus"
    write(path, tokenizer)
    content = bytearray((path / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    (path / name).write_bytes(content)
    try:
        corpus = Corpus.open(path, tokenizer)
    except CorpusError:
        return
    # Whatever still opens can be read whole.
    assert sum(len(each) for each in corpus) == corpus.info.tokens


def test_positions_are_checked_across_blocks(
    path: Path, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xlm_core.corpus.reading._BLOCK", 2)
    write(path, tokenizer)
    assert len(Corpus.open(path)) == 6
    for row in range(6):
        for column in range(2):
            shutil.rmtree(path)
            write(path, tokenizer)
            put(row, column, int(np.load(path / POSITIONS_FILE)[row, column]) + 1)(path)
            with pytest.raises(CorpusError, match="is damaged"):
                Corpus.open(path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is no corpus"):
        Corpus.open(tmp_path / "absent")
