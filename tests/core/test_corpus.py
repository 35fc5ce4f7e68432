"""The corpus on disk: written as a stream, read by mapping."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_corpus import FILES, SENTENCES, write
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
from xlm_core.corpus.writing import _HEADER_SIZE, _header
from xlm_core.errors import CorpusError


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.en"


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
        # Each is named by its own digest, which corpora of its own have too.
        larger = XLMTokenizer({**other, "more": 34}, tmp_path / "other" / "merges.txt")
        write(tmp_path / "larger", larger)
        digests = [Corpus.open(each).info.vocab_digest[:12] for each in (path, tmp_path / "larger")]
        said = "of 34 ids, digest {}.*of 35 ids, digest {}".format(*digests)
        with pytest.raises(CorpusError, match=said):
            Corpus.open(path, larger)

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
