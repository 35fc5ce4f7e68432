"""What the main rank does alone, and what the others do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from xlm_core.errors import CheckpointError, XLMError
from xlm_core.training.engine import Engine

T = TypeVar("T")
# Seconds between two signs of life. Ranks that wait for another one give up after a time that
# their framework sets: half an hour with PyTorch's defaults, ten minutes on GPUs.
PAUSE = 60.0


def write_on_main(
    engine: Engine, write: Callable[[], object], *, failed: str = "could not write"
) -> None:
    """Write on the main rank; if that fails, every rank raises. All have to call it.

    Args:
        engine: Of this rank.
        write: Writes.
        failed: What the main process could not do, for the errors of others.

    Raises:
        XLMError, OSError: On the main rank, what `write` raised.
        CheckpointError: On the others.
    """
    failure: XLMError | OSError | None = None
    if engine.is_main:
        try:
            write()
        except (XLMError, OSError) as error:
            failure = error
    number = sum(engine.of_all_ranks(float(failure is not None)))  # and wait for the main one
    if failure is not None:
        raise failure
    if number:
        raise CheckpointError(f"the main process {failed}: its error says why.")


def found_by_main(engine: Engine, find: Callable[[], T], *, failed: str) -> T | None:
    """Let the main rank find something that takes long; None on the others. All have to call it.

    However long it takes, the others do not give up waiting: now and then the main rank, which
    works in a thread of its own, tells them that it goes on.

    Args:
        engine: Of this rank.
        find: Finds it, on the main rank; it may not talk to the others.
        failed: As in `write_on_main`.

    Raises:
        XLMError, OSError: On the main rank, what `find` raised.
        CheckpointError: On the others.
    """
    if len(engine.of_all_ranks(0.0)) == 1:
        return find()
    outcome: Future[T] = Future()
    # Which does not keep a process from ending that is asked to.
    thread = threading.Thread(target=_carry, args=(find, outcome), daemon=True)
    if engine.is_main:
        thread.start()

    def is_at_work() -> bool:
        if not engine.is_main:
            return False
        thread.join(PAUSE)
        return thread.is_alive()

    while any(engine.of_all_ranks(float(is_at_work()))):
        pass
    found: list[T] = []
    write_on_main(engine, lambda: found.append(outcome.result()), failed=failed)
    return found[0] if found else None


def _carry(find: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(find())
    except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
        outcome.set_exception(error)
