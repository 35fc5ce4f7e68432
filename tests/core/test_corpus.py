"""The corpus on disk: written as a stream, read by mapping, refused when anything is off."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_tokenizer import SPECIAL, small_tokenizer, vocabulary, write_folder
from xlm_core import XLMTokenizer
from xlm_core.corpus import (
    INFO_FILE,
    POSITIONS_FILE,
    SENTENCES_FILE,
    Corpus,
    CorpusWriter,
    vocabulary_digest,
)
from xlm_core.errors import CorpusError

FILES = {SENTENCES_FILE, POSITIONS_FILE, INFO_FILE}
# Among them empty ones, the unknown id and, in the fourth, other special tokens.
SENTENCES = [[14, 15], [], [3, 29, 3], [1, 20, 0, 3, 5, 21], [], [30]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.en"


def write(
    path: Path, tokenizer: XLMTokenizer, sentences: Sequence[Sequence[int]] = SENTENCES, **more: Any
) -> None:
    with CorpusWriter(path, tokenizer, ["en"], **more) as writer:
        for ids in sentences:
            writer.add(ids)


def of_size(folder: Path, size: int) -> XLMTokenizer:
    """A tokenizer with so many ids."""
    words = {**vocabulary()}
    words |= {f"{i}</w>": i for i in range(len(words), size)}
    return XLMTokenizer(words, write_folder(folder) / "merges.txt")


def indexed(sentences: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """What the original makes of ids, written down from its rules."""
    flat: list[int] = []
    positions = []
    for ids in sentences:
        kept = [i for i in ids if i == 3 or i >= len(SPECIAL)]
        positions.append([len(flat), len(flat) + len(kept)])
        flat += [*kept, 1]
    return flat, positions


class TestWritten:
    def test_as_the_original_indexes(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        flat, positions = indexed(SENTENCES)
        corpus = Corpus.open(path, tokenizer)
        assert corpus.sentences.tolist() == flat
        assert corpus.positions.tolist() == positions
        assert (corpus.sentences.dtype, corpus.positions.dtype) == (np.uint16, np.int64)
        assert len(corpus) == len(SENTENCES)
        assert [ids.tolist() for ids in corpus] == [flat[b:e] for b, e in positions]
        info = corpus.info
        assert (info.sentences, info.tokens, info.unknowns) == (6, 9, 3)
        assert (info.mode, info.languages, info.eos_id, info.unk_id) == ("v4", ("en",), 1, 3)
        assert info.vocab_size == 34

    def test_any_numpy_reads_it(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        assert {file.name for file in path.iterdir()} == FILES
        flat, positions = indexed(SENTENCES)
        assert np.load(path / SENTENCES_FILE, allow_pickle=False).tolist() == flat
        assert np.load(path / POSITIONS_FILE, allow_pickle=False).tolist() == positions
        assert json.loads((path / INFO_FILE).read_text())["languages"] == ["en"]

    @pytest.mark.parametrize("sizes", [[6], [1, 5], [0, 2, 0, 4, 0]])
    def test_many_at_a_time(self, path: Path, tokenizer: XLMTokenizer, sizes: list[int]) -> None:
        with CorpusWriter(path, tokenizer, ["en"]) as writer:
            rest = list(SENTENCES)
            for size in sizes:
                taken, rest = rest[:size], rest[size:]
                ids = np.array([i for each in taken for i in each], dtype=np.int32)
                writer.add_many(ids, np.array(list(map(len, taken)), dtype=np.int32))
            assert (writer.sentences, writer.left_out) == (6, 3)
        assert Corpus.open(path).sentences.tolist() == indexed(SENTENCES)[0]

    @given(
        st.lists(st.lists(st.integers(0, 33), max_size=6), max_size=8),
        st.integers(1, 8),
    )
    def test_any_sentences(
        self, tmp_path_factory: Any, sentences: list[list[int]], step: int
    ) -> None:
        folder = tmp_path_factory.mktemp("any")
        tokenizer = small_tokenizer(folder / "files")
        with CorpusWriter(folder / "c", tokenizer, ["en"]) as writer:
            for at in range(0, len(sentences), step):
                part = sentences[at : at + step]
                writer.add_many([i for ids in part for i in ids], list(map(len, part)))
        corpus = Corpus.open(folder / "c", tokenizer)
        flat, positions = indexed(sentences)
        assert corpus.sentences.tolist() == flat
        assert corpus.positions.tolist() == positions
        assert corpus.positions.shape == (len(sentences), 2)
        assert corpus.info.unknowns == flat.count(3)

    @pytest.mark.parametrize(
        ("size", "dtype"), [(65_535, np.uint16), (65_536, np.int32), (70_000, np.int32)]
    )
    def test_dtype(self, tmp_path: Path, path: Path, size: int, dtype: Any) -> None:
        tokenizer = of_size(tmp_path / "files", size)
        write(path, tokenizer, [[size - 1, 14]])
        corpus = Corpus.open(path, tokenizer)
        assert corpus.sentences.dtype == dtype
        assert corpus[0].tolist() == [size - 1, 14]

    def test_memory_is_constant(self, path: Path, tokenizer: XLMTokenizer) -> None:
        ids, lengths = np.full(10_000, 20, dtype=np.int32), np.full(500, 20)
        tracemalloc.start()
        try:
            with CorpusWriter(path, tokenizer, ["en"]) as writer:
                for _ in range(1000):
                    writer.add_many(ids, lengths)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (path / SENTENCES_FILE).stat().st_size > 20e6
        assert peak < 6e6
        assert Corpus.open(path).info.tokens == 10_000_000

    def test_header_has_room_for_any_size(self) -> None:
        from xlm_core.corpus import _HEADER_SIZE, _header

        for dtype in ("<u2", "<i4", "<i8"):
            for shape in ((0,), (10**18,), (10**18, 2)):
                header = _header(np.dtype(dtype), shape)
                assert len(header) == _HEADER_SIZE
                assert header.endswith(b"\n")


class TestRead:
    def test_views(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        corpus = Corpus.open(path)
        first = corpus[0]
        assert type(first) is np.ndarray
        assert np.shares_memory(first, corpus.sentences)
        assert not first.flags.writeable
        assert corpus[-1].tolist() == corpus[np.int64(5)].tolist() == [30]
        for index in (6, -7):
            with pytest.raises(IndexError):
                corpus[index]
        with pytest.raises(TypeError):
            corpus["0"]  # type: ignore[index]

    def test_pickled_by_its_path(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer, [[20] * 10_000])
        pickled = pickle.dumps(Corpus.open(path))
        assert len(pickled) < 500
        assert pickle.loads(pickled)[0].size == 10_000

    def test_shown(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        assert repr(Corpus.open(str(path))).endswith("sentences=6, tokens=9, languages=en)")

    def test_only_of_its_vocabulary(
        self, tmp_path: Path, path: Path, tokenizer: XLMTokenizer
    ) -> None:
        write(path, tokenizer)
        other = {**vocabulary(), "a": 15, "a</w>": 14}
        other_tokenizer = XLMTokenizer(other, write_folder(tmp_path / "other") / "merges.txt")
        with pytest.raises(CorpusError, match="another vocabulary"):
            Corpus.open(path, other_tokenizer)
        smaller = {token: i for token, i in vocabulary().items() if i < 33}
        with pytest.raises(CorpusError, match="another vocabulary"):
            Corpus.open(path, XLMTokenizer(smaller, tmp_path / "other" / "merges.txt"))

    def test_tokens_added_later_do_no_harm(self, tmp_path: Path, path: Path) -> None:
        tokenizer = small_tokenizer(tmp_path / "files")
        write(path, tokenizer)
        tokenizer.add_tokens(["more"])
        assert len(Corpus.open(path, tokenizer)) == 6
        write(tmp_path / "later", tokenizer)
        with pytest.raises(CorpusError, match="another vocabulary"):
            Corpus.open(tmp_path / "later", small_tokenizer(tmp_path / "files"))

    def test_digest(self) -> None:
        one = vocabulary_digest({"a": 0, "b": 1})
        assert one == vocabulary_digest({"b": 1, "a": 0})
        assert one == vocabulary_digest({"a": 0, "b": 1, "c": 2}, below=2)
        others = [{"a": 1, "b": 0}, {"a": 0}, {"a 1\nb": 0}, {"a": 0, "b": 2}, {"\ud800": 0}]
        assert len({one, *map(vocabulary_digest, others)}) == 6


class TestTarget:
    def test_exists(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        with pytest.raises(CorpusError, match=r"exists.*--overwrite"):
            write(path, tokenizer, [])
        assert len(Corpus.open(path)) == 6
        write(path, tokenizer, [[20]], overwrite=True)
        assert len(Corpus.open(path)) == 1
        assert os.listdir(path.parent) == ["train.en"]

    def test_only_a_corpus_is_replaced(self, path: Path, tokenizer: XLMTokenizer) -> None:
        write(path, tokenizer)
        (path / "notes.txt").write_text("mine")
        with pytest.raises(CorpusError, match="is not a corpus"):
            write(path, tokenizer, overwrite=True)
        for other in (path / "notes.txt", path.parent / "empty"):
            (path.parent / "empty").mkdir(exist_ok=True)
            (path.parent / "empty" / "x").write_text("")
            with pytest.raises(CorpusError, match="is not a corpus"):
                write(other, tokenizer, overwrite=True)
        assert (path / "notes.txt").read_text() == "mine"

    def test_an_empty_folder_is_replaced(self, path: Path, tokenizer: XLMTokenizer) -> None:
        path.mkdir()
        write(path, tokenizer, overwrite=True)
        assert len(Corpus.open(path)) == 6

    def test_a_link_stays(self, tmp_path: Path, path: Path, tokenizer: XLMTokenizer) -> None:
        write(tmp_path / "real", tokenizer)
        path.symlink_to(tmp_path / "real")
        write(path, tokenizer, [[20]], overwrite=True)
        assert path.is_symlink()
        assert len(Corpus.open(tmp_path / "real")) == 1

    def test_parents_are_made(self, tmp_path: Path, tokenizer: XLMTokenizer) -> None:
        write(tmp_path / "a" / "b", tokenizer)
        assert os.listdir(tmp_path / "a") == ["b"]

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_an_interruption_leaves_it(
        self, path: Path, tokenizer: XLMTokenizer, before: bool, error: type[BaseException]
    ) -> None:
        if before:
            write(path, tokenizer)

        def interrupted() -> None:
            with CorpusWriter(path, tokenizer, ["en"], overwrite=True) as writer:
                writer.add([20])
                raise error

        with pytest.raises(error):
            interrupted()
        assert os.listdir(path.parent) == (["train.en"] if before else [])
        if before:
            assert len(Corpus.open(path)) == 6

    def test_a_failed_rename_leaves_it(
        self, path: Path, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(path, tokenizer)
        rename = Path.rename

        def refuse(source: Path, target: Path) -> Path:
            if source.suffix == ".part":
                raise OSError(28, "No space left on device")
            return rename(source, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="No space"):
            write(path, tokenizer, [[20]], overwrite=True)
        assert os.listdir(path.parent) == ["train.en"]
        assert len(Corpus.open(path)) == 6

    def test_one_that_came_meanwhile(self, path: Path, tokenizer: XLMTokenizer) -> None:
        writer = CorpusWriter(path, tokenizer, ["en"])
        write(path, tokenizer)
        with pytest.raises(CorpusError, match="exists"):
            writer.close()
        assert os.listdir(path.parent) == ["train.en"]
        with pytest.raises(CorpusError, match="closed"):
            writer.add([20])

    def test_no_end_of_sentence(self, tmp_path: Path, path: Path) -> None:
        tokenizer = small_tokenizer(tmp_path / "files")
        tokenizer.sep_token = None
        with pytest.raises(CorpusError, match="sep_token"):
            CorpusWriter(path, tokenizer, ["en"])

    @pytest.mark.parametrize(
        ("ids", "lengths", "message"),
        [
            ([34], [1], "from 34 to 34; the vocabulary has ids from 0 to 33"),
            ([20, -1], [2], "from -1 to 20"),
            ([20], [2], "There are 1 ids, but lengths"),
            ([20], [2, -1], "There are 1 ids, but lengths"),
            ([20.0], [1], "dtype float64"),
            ([[20]], [1], r"shape \(1, 1\)"),
            ([True], [1], "dtype bool"),
        ],
    )
    def test_wrong_ids(
        self, path: Path, tokenizer: XLMTokenizer, ids: Any, lengths: Any, message: str
    ) -> None:
        with pytest.raises(CorpusError, match=message), CorpusWriter(path, tokenizer, []) as writer:
            writer.add_many(ids, lengths)
        assert not path.exists()


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
    monkeypatch.setattr("xlm_core.corpus._BLOCK", 2)
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
