"""Texts to ids in several processes.

A worker is a fresh interpreter that gets the pickled tokenizer and then batches over its standard
input. Nothing is forked, so that threads of a framework cannot be caught in the middle of
something, and nothing imports the caller's main module, so that a script needs no
`if __name__ == "__main__"`. Workers import no framework.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from itertools import accumulate, pairwise
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from xlm_core.errors import InputError, WorkerError
from xlm_core.tokenization.calls.arguments import check_natural
from xlm_core.tokenization.calls.columns import column
from xlm_core.tokenization.text_encoder import TextOptions
from xlm_core.tokenization.workers.process import (
    Job,
    Worker,
    drive,
    greeting_of,
    refuse_of_script,
    stop,
)
from xlm_core.tokenization.workers.worker import PooledTokenizer, ids_of_batch

Tokenizer = TypeVar("Tokenizer", bound=PooledTokenizer)
Item = TypeVar("Item")
Result = TypeVar("Result")

# A worker takes about as long to start as one process needs for so many characters.
_CHARACTERS_A_WORKER = 1_000_000
# A batch is large enough for its transport not to count, and small enough for an even division.
_TEXTS_A_BATCH = 1000
_CHARACTERS_A_BATCH = 200_000
# Batches under way for each worker: one in work, one ready for when it is done, and one more so
# that a slow batch does not keep the other workers waiting.
_BATCHES_A_WORKER = 3


class TokenizerPool(Generic[Tokenizer]):
    """Processes that hold a copy of a tokenizer, and serve any number of calls.

    Use it as a context manager: at the end of the block its processes are gone, whatever
    happened in it. A change to the tokenizer after the pool was made does not reach the copies.

        with TokenizerPool(tokenizer, workers=4) as pool:
            for ids in pool.imap(batches_of_texts, lang="en"):
                ...

    Args:
        tokenizer: The tokenizer.
        workers: Number of processes.

    Raises:
        InputError: `workers` is no number from 1 up, or the tokenizer cannot be pickled.
        WorkerError: No process can be started.
    """

    def __init__(self, tokenizer: Tokenizer, workers: int) -> None:
        check_natural("workers", workers, 1, required=True)
        greeting = greeting_of(tokenizer)
        self._bound = _BATCHES_A_WORKER * workers
        self._split = tokenizer.split_special_tokens
        self._process = os.getpid()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        started: list[Worker] = []
        self._threads: list[threading.Thread] = []
        # Also when the pool is forgotten, and when the interpreter ends.
        self._stop = weakref.finalize(self, stop, started, self._jobs, self._process)
        try:
            for number in range(workers):
                started.append(Worker(greeting))
                thread = threading.Thread(
                    target=drive,
                    args=(started[-1], self._jobs),
                    name=f"xlm-tokenizer-{number}",
                    daemon=True,  # a pool that nobody closed must not keep the interpreter
                )
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.close()
            for worker in started:
                worker.stop()
            raise

    def imap(
        self,
        batches: Iterable[Sequence[str] | Sequence[Sequence[str]]],
        *,
        lang: str | None = None,
        words: bool = False,
        bypass_tokenizer: bool = False,
        split_special_tokens: bool | None = None,
    ) -> Iterator[list[list[int]]]:
        """Ids of the texts of each batch, in order.

        Only a few batches are under way at a time: `batches` is read no faster than the results
        are taken, so both may be endless.

        Args:
            batches: Lists of texts, or with `words` of lists of words; of about 1000.
            lang: Their language; default, the tokenizer's.
            words: Texts are split into words.
            bypass_tokenizer: Words, separated by spaces, go straight to BPE.
            split_special_tokens: Special tokens in a text are split like words; default, the
                tokenizer's setting.

        Returns:
            One list of ids a text, without special tokens around them.

        Raises:
            InputError: A batch holds something else than texts.
            UnknownLanguageError: The tokenizer does not know `lang`.
            WorkerError: A process ended unexpectedly.
        """
        split = self._split if split_special_tokens is None else split_special_tokens
        options = TextOptions(words, bypass_tokenizer, split)
        work = ((_texts(batch, words), lang, options) for batch in batches)
        return map(_unpacked, self.run(ids_of_batch, work))

    def run(
        self, function: Callable[[Tokenizer, Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """`function(tokenizer, item)` in the workers for each of `items`, in order.

        Args:
            function: Importable: pickled by its name. Neither a lambda nor of a script's own.
            items: What can be pickled; read no faster than the results are taken.

        Raises:
            WorkerError: A process ended unexpectedly, or the pool is closed.
            Exception: What `function` raised; the later items are then not looked at.
        """
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(self._submit(function, item))
                while len(waiting) >= self._bound or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except CancelledError as error:
            raise WorkerError("This TokenizerPool was closed while it was at work.") from error
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, function: Callable[..., Result], item: Any) -> Future[Result]:
        if os.getpid() != self._process:
            raise WorkerError(
                "This TokenizerPool belongs to the process that this one was forked from: make "
                "one of its own."
            )
        if self._is_closed():
            raise WorkerError("This TokenizerPool is closed: make another one.")
        refuse_of_script(function)
        future: Future[Result] = Future()
        self._jobs.put((future, pickle.dumps((function, item), 5)))
        if self._is_closed():  #  by another thread meanwhile: nobody takes it any more
            future.cancel()
        return future

    def _is_closed(self) -> bool:
        return not self._stop.alive

    def close(self) -> None:
        """End the processes; work that is under way is lost."""
        self._stop()
        if os.getpid() == self._process:
            for thread in self._threads:
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def ids_in_processes(
    tokenizer: PooledTokenizer,
    texts: Sequence[str] | Sequence[list[str]],
    langs: Sequence[str | None],
    options: TextOptions,
    workers: int,
) -> list[list[int]]:
    """Compute the ids of each text, without special tokens around them, in several processes.

    A few texts are not worth the start of a process: fewer are started then, or none.

    Args:
        tokenizer: The tokenizer.
        texts: The texts, or with `words` their words.
        langs: Language of each; None for the tokenizer's.
        options: How they are tokenized.
        workers: Number of processes, at most.

    Raises:
        XLMError: What the tokenizer raised, as it would in this process.
        WorkerError: A process ended unexpectedly.
    """
    sizes = [_size(text) for text in texts]
    batches = list(_batches(sizes))
    workers = min(workers, len(batches), sum(sizes) // _CHARACTERS_A_WORKER)
    if workers <= 1:
        return tokenizer._ids_of_texts(texts, langs, options)
    work = ((list(texts[cut]), list(langs[cut]), options) for cut in batches)
    result: list[list[int]] = []
    with TokenizerPool(tokenizer, workers) as pool:
        for packed in pool.run(ids_of_batch, work):
            result += _unpacked(packed)
    return result


def _texts(batch: Any, words: bool) -> list[Any]:
    if isinstance(batch, str) or not isinstance(batch, Sequence):
        raise InputError(
            f"A batch is a list of texts; got {type(batch).__name__}. Group single texts into "
            "lists of about 1000."
        )
    found = column(list(batch), words, "a batch")
    if found.items and found.kind != ("words" if words else "text"):
        raise InputError(
            f"A batch holds lists of {found.kind}: expected "
            + ("lists of words, as words=True says." if words else "texts, or words=True.")
        )
    return found.items


def _size(text: str | Sequence[str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))


def _batches(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut texts of these sizes into batches."""
    begin = characters = 0
    for at, size in enumerate(sizes):
        if at > begin and (at - begin >= _TEXTS_A_BATCH or characters + size > _CHARACTERS_A_BATCH):
            yield slice(begin, at)
            begin, characters = at, 0
        characters += size
    if begin < len(sizes):
        yield slice(begin, len(sizes))


def _unpacked(packed: tuple[array[int], array[int]]) -> list[list[int]]:
    lengths, flat = packed
    ids = flat.tolist()
    return [ids[begin:end] for begin, end in pairwise(accumulate(lengths, initial=0))]
