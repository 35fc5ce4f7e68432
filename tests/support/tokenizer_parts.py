"""Where tests meet the parts of a tokenizer that have no public name: here, and nowhere else."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from xlm_core import XLMTokenizer
from xlm_core.tokenization.text.moses import moses
from xlm_core.tokenization.text.pipeline import Pipeline
from xlm_core.tokenization.text.punctuation import normalization, unicode_punctuation
from xlm_core.tokenization.text.romanian import ROMANIAN
from xlm_core.tokenization.text.rules import Rule
from xlm_core.tokenization.text_encoder import TextOptions
from xlm_core.tokenization.workers import pool as parallel
from xlm_core.tokenization.workers import process as worker_process
from xlm_core.tokenization.workers import worker

# -- texts to ids ---------------------------------------------------------------------------


class OpenTokenizer(XLMTokenizer):
    """A tokenizer whose way from texts to ids, and to their alignment, tests watch or replace."""

    def ids_of_texts(self, texts: Any, langs: Any, *, words: bool, **more: Any) -> Any:
        """Ids of each text; `more` is bypass, split_special_tokens and workers."""
        workers = more.pop("workers", 1)
        options = TextOptions(words=words, **more)
        return super()._ids_of_texts(texts, langs, options, workers=workers)

    def alignment_of(self, text: Any, lang: Any, *, words: bool, **more: Any) -> Any:
        """Begin, end and word of each id; `more` is bypass and split_special_tokens."""
        return super()._align_text(text, lang, TextOptions(words=words, **more))

    def _ids_of_texts(self, texts: Any, langs: Any, options: Any, *, workers: int = 1) -> Any:
        return self.ids_of_texts(texts, langs, **options._asdict(), workers=workers)

    def _align_text(self, text: Any, lang: Any, options: Any) -> Any:
        return self.alignment_of(text, lang, **options._asdict())


def ids_of_texts(
    tokenizer: XLMTokenizer, texts: Any, langs: Any, options: dict[str, bool]
) -> list[list[int]]:
    """Ids of each text, computed in this process; options are words, bypass and split_..."""
    return tokenizer._ids_of_texts(texts, langs, TextOptions(**options))


def ids_in_processes(
    tokenizer: XLMTokenizer, texts: Any, langs: Any, options: dict[str, bool], workers: int
) -> list[list[int]]:
    """The same in several processes."""
    return parallel.ids_in_processes(tokenizer, texts, langs, TextOptions(**options), workers)


def ids_through_a_message(
    tokenizer: XLMTokenizer, texts: Any, lang: str, options: dict[str, bool]
) -> list[list[int]]:
    """The same as a worker answers it, packed and unpacked in this process."""
    return parallel._unpacked(worker.ids_of_batch(tokenizer, (texts, lang, TextOptions(**options))))


def path_of(tokenizer: XLMTokenizer, lang: str) -> Any:
    """The fast path of a language: `ids`, `align`, and the `pipeline` of its words."""
    return tokenizer._text_encoder.chunk_encoder(lang)


def word_encoder(tokenizer: XLMTokenizer) -> Any:
    """Words to subwords and ids: `pieces`, `id_of`, `align`."""
    return tokenizer._text_encoder.word_encoder


# -- what is remembered ---------------------------------------------------------------------


def held(tokenizer: XLMTokenizer) -> int:
    """How many words and chunks are remembered."""
    return sum(map(len, tokenizer._text_encoder.memory._caches))


def entries(tokenizer: XLMTokenizer) -> int:
    """How many the memory believes that it holds."""
    return tokenizer._text_encoder.memory.entries


def chunks_alone(path: Any) -> dict[str, Any]:
    """The ids remembered of chunks whose neighbours do not matter."""
    return path._alone


def chunks_in_context(path: Any) -> dict[Any, Any]:
    """Those of the others."""
    return path._in_context


# -- rules ----------------------------------------------------------------------------------


def rules_of(language: str, perl: bool) -> Iterator[Rule]:
    """Every rule that a text of the language can meet."""
    yield from unicode_punctuation(perl)
    yield from normalization(language, perl)
    yield from moses(language, perl)._before_periods
    yield from moses(language, perl)._after_periods
    yield from ROMANIAN


def rules_of_normalization(pipeline: Pipeline) -> Sequence[Rule]:
    """All rules of `normalize`, those for Romanian aside."""
    return pipeline._rules


def romanian_rules() -> Sequence[Rule]:
    """The rules for Romanian."""
    return ROMANIAN


def control_characters(pipeline: Pipeline) -> Any:
    """The table of what becomes of control characters."""
    return pipeline._control


# -- rows of a batch ------------------------------------------------------------------------


def layout_of_row(encoding: Any, index: int) -> Any:
    """Which tokens of which sample a row holds."""
    return encoding._alignment.row(index)


# -- processes ------------------------------------------------------------------------------

BOOT = worker_process._BOOT
greeting_of = worker_process.greeting_of


def every_text_is_worth_a_process(texts_a_batch: int) -> None:
    """In a program of its own: any text starts processes."""
    parallel._CHARACTERS_A_WORKER = 1
    parallel._TEXTS_A_BATCH = texts_a_batch


def set_batches(
    monkeypatch: pytest.MonkeyPatch,
    *,
    characters_a_worker: int | None = None,
    texts: int | None = None,
    characters: int | None = None,
) -> None:
    """How much text is worth a process, and how much a batch holds at most."""
    for name, value in (
        ("_CHARACTERS_A_WORKER", characters_a_worker),
        ("_TEXTS_A_BATCH", texts),
        ("_CHARACTERS_A_BATCH", characters),
    ):
        if value is not None:
            monkeypatch.setattr(parallel, name, value)


def refuse_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a pool fails."""
    monkeypatch.setattr(parallel, "TokenizerPool", None)


def be_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has another number than the one that made its pools."""
    monkeypatch.setattr(parallel.os, "getpid", lambda: -1)


def batches_of(sizes: Sequence[int]) -> list[slice]:
    """Where texts of these sizes are cut into batches."""
    return list(parallel._batches(sizes))


def most_batches_under_way(pool: Any) -> int:
    """How many batches a pool takes before a result is taken from it."""
    return pool._bound


def threads_of(pool: Any) -> list[Any]:
    """The threads that drive a pool's processes."""
    return pool._threads


def stop_without_workers(pool: Any) -> None:
    """What ends a pool, given none of its processes."""
    worker_process.stop([], pool._jobs, pool._process)


def error_as_it_travels(error: Exception) -> BaseException:
    """An error after its way from a worker to the caller."""
    found = pickle.loads(worker._pickled(error))
    assert isinstance(found, BaseException)
    return found
