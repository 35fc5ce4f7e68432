"""What runs in a worker process: a loop that answers messages."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import sys
import threading
import traceback
from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, BinaryIO, Protocol

from xlm_core.errors import WorkerError, XLMError
from xlm_core.tokenization.text_encoder import TextOptions

# Before each message, how long it is.
LENGTH = struct.Struct("<Q")
# Before each answer, so that a stray line on the standard output is seen to be none.
ANSWER = struct.Struct("<4s?Q")
MARK = b"xlm\0"


class PooledTokenizer(Protocol):
    """What a pool asks of the tokenizer that its processes hold copies of."""

    split_special_tokens: bool

    def _ids_of_texts(
        self,
        texts: Sequence[Any],
        langs: Sequence[str | None],
        options: TextOptions,
        *,
        workers: int = 1,
    ) -> list[list[int]]: ...


def serve() -> None:
    """Answer messages until there are no more, then end the process."""
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
            sink.write(ANSWER.pack(MARK, good, len(answer)))
            sink.write(answer)
            sink.flush()
    os._exit(0)


def _receive(source: BinaryIO, messages: queue.SimpleQueue[bytes]) -> None:
    """Take messages, and end the process when the caller is gone; runs in a thread of its own."""
    while True:
        head = source.read(LENGTH.size)
        if len(head) < LENGTH.size:
            break
        length = LENGTH.unpack(head)[0]
        message = source.read(length)
        if len(message) < length:
            break
        messages.put(message)
        del message
    # At once, in the middle of work that nobody waits for any more.
    os._exit(0)


def _pickled(error: Exception) -> bytes:
    """Pickle an error so that another process can raise it, of its own type where possible."""
    if not isinstance(error, XLMError):
        trace = "".join(traceback.format_exception(error)).rstrip()
        error.add_note(f"In a worker process:\n{trace}")
    with suppress(Exception):  # a foreign type may do anything
        pickled = pickle.dumps(error, 5)
        # Some types can be pickled, but not made again.
        if type(pickle.loads(pickled)) is type(error):  # noqa: S301
            return pickled
    return pickle.dumps(WorkerError(f"{type(error).__name__} in a worker process: {error}"), 5)


def ids_of_batch(
    tokenizer: PooledTokenizer,
    work: tuple[list[Any], list[str | None] | str | None, TextOptions],
) -> tuple[array[int], array[int]]:
    """The ids of a batch of texts, packed into arrays, which pickle faster than lists.

    Args:
        tokenizer: The worker's copy of the tokenizer.
        work: The texts, the language of each or of all, and how they are tokenized.

    Returns:
        The number of ids of each text, and the ids of all texts.
    """
    texts, langs, options = work
    langs = langs if isinstance(langs, list) else [langs] * len(texts)
    rows = tokenizer._ids_of_texts(texts, langs, options)
    lengths = array("i", map(len, rows))
    try:
        return lengths, array("i", chain.from_iterable(rows))
    except OverflowError:  # a vocabulary may number its subwords as it likes
        return lengths, array("q", chain.from_iterable(rows))
