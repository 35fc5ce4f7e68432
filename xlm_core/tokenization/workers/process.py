"""Worker processes as seen by their caller: starting, asking and ending them."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from xlm_core.errors import InputError, WorkerError
from xlm_core.tokenization.workers.worker import ANSWER, LENGTH, MARK, PooledTokenizer

_NEW_GROUP = int(getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0))  # on Windows alone

# -P keeps the current folder off the path until the caller's own path is there. A caller that was
# interrupted before it sent a whole line has gone: nothing is left to do, and nothing to report.
_BOOT = (
    "import json, sys; line = sys.stdin.buffer.readline(); line.endswith(b'\\n') or sys.exit(); "
    "sys.path[:] = json.loads(line); "
    "from xlm_core.tokenization.workers.worker import serve; serve()"
)

Job = tuple["Future[Any]", bytes]


def greeting_of(tokenizer: PooledTokenizer) -> bytes:
    """The first message to a worker: where modules are found, and the tokenizer."""
    refuse_of_script(type(tokenizer))
    path = [entry for entry in sys.path if isinstance(entry, str)]
    # The worker must find this very package, however it was found here.
    root = str(Path(__file__).resolve().parents[3])
    if root not in path:
        path.append(root)
    try:
        pickled = pickle.dumps(tokenizer, 5)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(
            f"This tokenizer cannot be sent to other processes: {error}. Give workers=1."
        ) from error
    # JSON writes paths that are not UTF-8 as well, and no line break.
    return b"".join((json.dumps(path).encode(), b"\n", LENGTH.pack(len(pickled)), pickled))


def refuse_of_script(thing: Any) -> None:
    """Refuse a class or function that workers cannot import."""
    if getattr(thing, "__module__", None) == "__main__":
        raise InputError(
            f"{thing.__qualname__} is defined in the program that runs, which workers do not "
            "import: move it to a module, or give workers=1."
        )


class Worker:
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
            sink.write(LENGTH.pack(len(message)))
            sink.write(message)
            sink.flush()
        except (OSError, ValueError):
            pass  # it may have said why before it ended
        try:
            head = source.read(ANSWER.size)
            if len(head) < ANSWER.size:
                raise WorkerError(self._ended())
            mark, good, length = ANSWER.unpack(head)
            if mark != MARK:
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


def drive(worker: Worker, jobs: queue.SimpleQueue[Job | None]) -> None:
    """Give a worker jobs until there is a None; runs in a thread of its own for each worker."""
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


def stop(workers: list[Worker], jobs: queue.SimpleQueue[Job | None], process: int) -> None:
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
