"""Texts to ids in several processes.

A worker is a fresh interpreter that gets the pickled tokenizer and then batches over its standard
input. Nothing is forked, so that threads of a framework cannot be caught in the middle of
something, and nothing imports the caller's main module, so that a script needs no
`if __name__ == "__main__"`. Workers import no framework.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from itertools import accumulate, chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from xlm_core.errors import InputError, WorkerError, XLMError
from xlm_core.tokenization.batch_inputs import column
from xlm_core.tokenization.batch_options import check_natural

if TYPE_CHECKING:
    from xlm_core.tokenization.tokenizer import XLMTokenizer

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

_NEW_GROUP = int(getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # on Windows alone
_LENGTH = struct.Struct("<Q")
# Before each answer, so that a stray line on the standard output is seen to be none.
_ANSWER = struct.Struct("<4s?Q")
_MARK = b"xlm\0"

# -P keeps the current folder off the path until the caller's own path is there.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from xlm_core.tokenization.parallel import serve; serve()"
)


# -- in the caller's process ----------------------------------------------------------------


class TokenizerPool:
    """Processes that hold a copy of a tokenizer, for as many calls as are wanted.

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

    def __init__(self, tokenizer: XLMTokenizer, workers: int) -> None:
        check_natural("workers", workers, 1)
        greeting = _greeting(tokenizer)
        self._bound = _BATCHES_A_WORKER * workers
        self._split = tokenizer.split_special_tokens
        self._process = os.getpid()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        started: list[_Worker] = []
        self._threads: list[threading.Thread] = []
        # Also when the pool is forgotten, and when the interpreter ends.
        self._stop = weakref.finalize(self, _stop, started, self._jobs, self._process)
        try:
            for number in range(workers):
                started.append(_Worker(greeting))
                thread = threading.Thread(
                    target=_drive,
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
        options = {
            "words": words,
            "bypass": bypass_tokenizer,
            "split_special_tokens": self._split
            if split_special_tokens is None
            else split_special_tokens,
        }
        work = ((_texts(batch, words), lang, options) for batch in batches)
        return map(_unpacked, self.run(_ids_of_batch, work))

    def run(
        self, function: Callable[[XLMTokenizer, Item], Result], items: Iterable[Item]
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
        _refuse_of_script(function)
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
    tokenizer: XLMTokenizer,
    texts: Sequence[str] | Sequence[list[str]],
    langs: Sequence[str | None],
    options: Mapping[str, bool],
    workers: int,
) -> list[list[int]]:
    """Ids of each text, without special tokens around them, by several processes.

    A few texts are not worth the start of a process: fewer are started then, or none.

    Args:
        tokenizer: The tokenizer.
        texts: The texts, or with `words` their words.
        langs: Language of each; None for the tokenizer's.
        options: words, bypass and split_special_tokens of `XLMTokenizer._ids_of_texts`.
        workers: Number of processes, at most.

    Raises:
        XLMError: What the tokenizer raised, as it would in this process.
        WorkerError: A process ended unexpectedly.
    """
    sizes = [_size(text) for text in texts]
    batches = list(_batches(sizes))
    workers = min(workers, len(batches), sum(sizes) // _CHARACTERS_A_WORKER)
    if workers <= 1:
        return tokenizer._ids_of_texts(
            list(texts),  # type: ignore[arg-type]
            list(langs),
            words=options["words"],
            bypass=options["bypass"],
            split_special_tokens=options["split_special_tokens"],
            workers=1,
        )
    work = ((list(texts[cut]), list(langs[cut]), options) for cut in batches)
    result: list[list[int]] = []
    with TokenizerPool(tokenizer, workers) as pool:
        for packed in pool.run(_ids_of_batch, work):
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
    """Where texts of these sizes are cut into batches."""
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


def _greeting(tokenizer: XLMTokenizer) -> bytes:
    """What a worker gets first: where modules are found, and the tokenizer."""
    _refuse_of_script(type(tokenizer))
    path = [entry for entry in sys.path if isinstance(entry, str)]
    # The worker must find this very package, however it was found here.
    root = str(Path(__file__).resolve().parents[2])
    if root not in path:
        path.append(root)
    try:
        pickled = pickle.dumps(tokenizer, 5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(
            f"This tokenizer cannot be sent to other processes: {error}. Give workers=1."
        ) from error
    # JSON writes paths that are not UTF-8 as well, and no line break.
    return b"".join((json.dumps(path).encode(), b"\n", _LENGTH.pack(len(pickled)), pickled))


def _refuse_of_script(thing: Any) -> None:
    """Refuse a class or function that workers cannot import."""
    if getattr(thing, "__module__", None) == "__main__":
        raise InputError(
            f"{thing.__qualname__} is defined in the program that runs, which workers do not "
            "import: move it to a module, or give workers=1."
        )


_Job = tuple["Future[Any]", bytes]


class _Worker:
    """A process and the pipes to it.

    Only the thread that drives it may touch the pipes.

    Args:
        greeting: Written before the first message.
    """

    def __init__(self, greeting: bytes) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise WorkerError(
                f"Workers need a Python interpreter, and sys.executable is {sys.executable!r} of "
                "a program that holds its own: give workers=1."
            )
        # Libraries of numerics would start as many threads as there are cores, for nothing.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # A group of its own, so that Ctrl-C reaches the caller alone, which then ends the worker.
        windows = sys.platform == "win32"
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603  (fixed)
                [sys.executable, "-P", "-c", _BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                process_group=None if windows else 0,
                creationflags=_NEW_GROUP if windows else 0,
            )
        except OSError as error:
            raise WorkerError(f"A worker process cannot be started: {error}.") from error
        self._greeting = greeting

    def ask(self, message: bytes) -> Any:
        """Send a message and wait for the answer; raise what the worker raised.

        Raises:
            WorkerError: The worker ended.
        """
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None
        try:
            if self._greeting:
                sink.write(self._greeting)
                self._greeting = b""
            sink.write(_LENGTH.pack(len(message)))
            sink.write(message)
            sink.flush()
        except (OSError, ValueError):
            pass  # it may have said why before it ended
        try:
            head = source.read(_ANSWER.size)
            if len(head) < _ANSWER.size:
                raise WorkerError(self._ended())
            mark, good, length = _ANSWER.unpack(head)
            if mark != _MARK:
                raise WorkerError(
                    f"A worker process wrote {head!r} to its standard output before the "
                    "tokenizer was loaded: something that Python imports at its start prints."
                )
            answer = source.read(length)
        except (OSError, ValueError) as error:
            raise WorkerError(self._ended()) from error
        if len(answer) < length:
            raise WorkerError(self._ended())
        value = pickle.loads(answer)  # noqa: S301  (from our own process)
        if not good:
            raise value
        return value

    def _ended(self) -> str:
        """How the process ended."""
        try:
            code: int | None = self._process.wait(10)
        except subprocess.TimeoutExpired:
            code = None
        if code is None:
            return "A worker process closed its output without an answer."
        if code < 0:
            known = {int(number): number.name for number in signal.Signals}
            return (
                f"A worker process was ended by {known.get(-code, f'signal {-code}')}. The machine "
                "may have run out of memory: give fewer workers, or smaller batches."
            )
        return (
            f"A worker process ended with status {code} before its work was done; what it wrote "
            "to the standard error may say why."
        )

    def kill(self) -> None:
        """End the process; from any thread."""
        with suppress(OSError):
            self._process.kill()

    def stop(self) -> None:
        """End the process and close the pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # What could not be written is still in the buffer.
            with suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()


def _drive(worker: _Worker, jobs: queue.SimpleQueue[_Job | None]) -> None:
    """In a thread of its own for each worker: give it jobs until there is a None."""
    try:
        while (job := jobs.get()) is not None:
            future, message = job
            if future.set_running_or_notify_cancel():
                try:
                    value = worker.ask(message)
                except Exception as error:  # noqa: BLE001  (raised where the result is asked for)
                    future.set_exception(error)
                else:
                    future.set_result(value)
                    del value
            del job, future, message  # else the last result stays while there is no work
    finally:
        worker.stop()


def _stop(workers: list[_Worker], jobs: queue.SimpleQueue[_Job | None], process: int) -> None:
    """End the processes; their threads then end by themselves."""
    if os.getpid() != process:
        return  # a fork of the owner, whose processes these are not
    with suppress(queue.Empty):
        while True:
            job = jobs.get_nowait()
            if job is not None:
                job[0].cancel()
    for worker in workers:
        jobs.put(None)
        worker.kill()


# -- in a worker ----------------------------------------------------------------------------


def serve() -> None:
    """What a worker does: answer messages until there are no more, then end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Answers alone go to the standard output; what a library prints goes to the standard error.
    sink = os.fdopen(os.dup(1), "wb")
    try:
        os.dup2(2, 1)
    except OSError:  # the caller has none
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, messages), daemon=True).start()
    try:
        tokenizer: Any = pickle.loads(messages.get())  # noqa: S301  (from our own caller)
        failure = None
    except Exception as error:  # noqa: BLE001  (the answer to whatever is asked)
        failure = WorkerError(
            f"The tokenizer cannot be made in a worker process: {error!r}. Give workers=1."
        )
    with suppress(BrokenPipeError):  # the caller is gone
        while True:
            message = messages.get()
            try:
                if failure is not None:
                    raise failure
                function, item = pickle.loads(message)  # noqa: S301  (from our own caller)
                answer, good = pickle.dumps(function(tokenizer, item), 5), True
            except Exception as error:  # noqa: BLE001  (raised in the caller's process)
                answer, good = _pickled(error), False
            sink.write(_ANSWER.pack(_MARK, good, len(answer)))
            sink.write(answer)
            sink.flush()
    os._exit(0)


def _receive(source: BinaryIO, messages: queue.SimpleQueue[bytes]) -> None:
    """In a thread of its own: take messages, and end the process when the caller has gone."""
    while True:
        head = source.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            break
        length = _LENGTH.unpack(head)[0]
        message = source.read(length)
        if len(message) < length:
            break
        messages.put(message)
        del message
    # At once, in the middle of work that nobody waits for any more.
    os._exit(0)


def _pickled(error: Exception) -> bytes:
    """An error as it can be raised in another process, of its own type if that can be."""
    if not isinstance(error, XLMError):
        trace = "".join(traceback.format_exception(error)).rstrip()
        error.add_note(f"In a worker process:\n{trace}")
    with suppress(Exception):  # a foreign type may do anything
        pickled = pickle.dumps(error, 5)
        # Some types can be pickled, but not made again.
        if type(pickle.loads(pickled)) is type(error):  # noqa: S301
            return pickled
    return pickle.dumps(WorkerError(f"{type(error).__name__} in a worker process: {error}"), 5)


def _ids_of_batch(
    tokenizer: XLMTokenizer,
    work: tuple[list[Any], list[str | None] | str | None, Mapping[str, bool]],
) -> tuple[array[int], array[int]]:
    """The number of ids of each text, and all of them: int32, which travel as they are."""
    texts, langs, options = work
    rows = tokenizer._ids_of_texts(
        texts,
        langs if isinstance(langs, list) else [langs] * len(texts),
        words=options["words"],
        bypass=options["bypass"],
        split_special_tokens=options["split_special_tokens"],
        workers=1,
    )
    lengths = array("i", map(len, rows))
    try:
        return lengths, array("i", chain.from_iterable(rows))
    except OverflowError:  # a vocabulary may number its subwords as it likes
        return lengths, array("q", chain.from_iterable(rows))
