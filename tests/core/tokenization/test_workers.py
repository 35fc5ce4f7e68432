"""Several processes give what one gives, in order and as it is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.support import small_tokenizer as work
from tests.support.small_tokenizer import small_tokenizer, write_folder
from tests.support.tokenizer_parts import (
    batches_of,
    ids_in_processes,
    ids_of_texts,
    ids_through_a_message,
    most_batches_under_way,
    refuse_pools,
    set_batches,
)
from xlm_core import XLMTokenizer
from xlm_core.tokenization.workers.pool import TokenizerPool

TEXTS = ["abc de", "", "fg fg h a", "<special1> abc", "ABC, d.", "z\ud800z", "\u200b", "ab " * 900]
OPTIONS = {"words": False, "bypass": False, "split_special_tokens": False}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def pool(tokenizer: XLMTokenizer) -> Iterator[TokenizerPool]:
    with TokenizerPool(tokenizer, 2) as pool:
        yield pool


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are worth their start for any text."""
    set_batches(monkeypatch, characters_a_worker=1, texts=3)


class TestSameIds:
    @pytest.mark.usefixtures("eager")
    @pytest.mark.parametrize("options", [{}, {"bypass": True}, {"split_special_tokens": True}])
    def test_texts(self, tokenizer: XLMTokenizer, options: dict[str, bool]) -> None:
        options = {**OPTIONS, **options}
        langs = [("en", "fr", None)[i % 3] for i in range(len(TEXTS))]
        expected = ids_of_texts(tokenizer, TEXTS, langs, options)
        assert ids_in_processes(tokenizer, TEXTS, langs, options, 2) == expected
        assert expected[0] != expected[1] == []

    @pytest.mark.usefixtures("eager")
    def test_words(self, tokenizer: XLMTokenizer) -> None:
        texts = [text.split() for text in TEXTS]
        options = {**OPTIONS, "words": True}
        langs: list[str | None] = [None] * len(texts)
        expected = ids_of_texts(tokenizer, texts, langs, options)
        assert ids_in_processes(tokenizer, texts, langs, options, 2) == expected

    @pytest.mark.usefixtures("eager")
    def test_a_call(self, tokenizer: XLMTokenizer) -> None:
        assert dict(tokenizer(TEXTS, workers=3)) == dict(tokenizer(TEXTS))

    def test_imap(self, tokenizer: XLMTokenizer, pool: TokenizerPool) -> None:
        batches = [TEXTS, [], TEXTS[:3], [""]]
        expected = [
            [tokenizer.encode(text, add_special_tokens=False) for text in batch]
            for batch in batches
        ]
        assert list(pool.imap(batches)) == expected
        words = [[text.split() for text in batch] for batch in batches]
        found = list(pool.imap(words, lang="fr", words=True, bypass_tokenizer=True))
        expected = [
            tokenizer(
                batch,
                lang="fr",
                is_split_into_words=True,
                bypass_tokenizer=True,
                add_special_tokens=False,
            )["input_ids"]
            if batch
            else []
            for batch in words
        ]
        assert found == expected

    def test_settings_travel(self, tmp_path: Path) -> None:
        other = small_tokenizer(tmp_path, mode="original", do_lowercase_and_remove_accent=False)
        other.split_special_tokens = True
        other.add_tokens("zz")
        texts = ["ABC zz"]
        with TokenizerPool(other, 1) as pool:
            (found,) = pool.imap([texts])
            (whole,) = pool.imap([texts], split_special_tokens=False)
        assert found == [other.encode(texts[0], add_special_tokens=False)]
        assert whole[0][-1] == len(other) - 1 != found[0][-1]

    def test_ids_beyond_int32(self, tmp_path: Path) -> None:
        vocabulary = {**work.vocabulary(), "h</w>": 1 << 40}
        large = XLMTokenizer(vocabulary, write_folder(tmp_path) / "merges.txt")
        found = ids_through_a_message(large, ["h a"], "en", OPTIONS)
        assert found == [[1 << 40, vocabulary["a</w>"]]]

    def test_a_few_texts_start_no_process(
        self, tokenizer: XLMTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_pools(monkeypatch)
        assert tokenizer(TEXTS, workers=2)["input_ids"] == tokenizer(TEXTS)["input_ids"]

    @pytest.mark.parametrize("most", [1, 2, 5, 99])
    def test_division_into_batches(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        set_batches(monkeypatch, texts=most, characters=10)
        sizes = [3, 3, 3, 3, 0, 30, 1, 10, 0, 0]
        cuts = batches_of(sizes)
        assert [size for cut in cuts for size in sizes[cut]] == sizes
        for cut in cuts:
            assert 1 <= len(sizes[cut]) <= most
            assert sum(sizes[cut]) <= 10 or len(sizes[cut]) == 1


class TestStream:
    def test_order(self, pool: TokenizerPool) -> None:
        items = [(0.2 if i % 5 == 0 else 0.0, i) for i in range(20)]
        assert list(pool.run(work.sleep_and_return, items)) == list(range(20))

    def test_reads_no_further_than_needed(self, pool: TokenizerPool) -> None:
        read = 0

        def endless() -> Iterator[list[str]]:
            nonlocal read
            while True:
                read += 1
                yield ["abc"]

        results = pool.imap(endless())
        assert read == 0
        for taken in range(1, 30):
            next(results)
            assert read <= taken + most_batches_under_way(pool)
            if taken % 10 == 0:
                time.sleep(0.05)

    def test_an_abandoned_stream_leaves_the_pool_usable(self, pool: TokenizerPool) -> None:
        assert len(list(islice(pool.imap(["abc"] for _ in range(100)), 3))) == 3
        assert list(pool.run(work.sleep_and_return, [(0, "x")])) == ["x"]

    def test_threads_share_a_pool(self, pool: TokenizerPool) -> None:
        found: dict[int, list[Any]] = {}

        def run(start: int) -> None:
            items = [(0.001 * (i % 3), start + i) for i in range(30)]
            found[start] = list(pool.run(work.sleep_and_return, items))

        threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {start: list(range(start, start + 30)) for start in (0, 100, 200)}

    def test_what_is_printed_does_no_harm(self, pool: TokenizerPool, capfd: Any) -> None:
        assert list(pool.run(work.print_and_return, [1, 2])) == [1, 2]


def test_workers_load_no_framework(pool: TokenizerPool) -> None:
    (modules,) = pool.run(work.modules_of, [0])
    assert "xlm_core" in modules
    assert {"torch", "tensorflow", "keras", "jax", "transformers"}.isdisjoint(modules)
    assert list(pool.run(work.environment_of, ["OMP_NUM_THREADS"])) == ["1"]
