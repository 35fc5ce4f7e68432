"""What the main rank does alone: the others wait for it, however long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xlm_core.errors import CheckpointError, CorpusError
from xlm_core.training import main_rank
from xlm_core.training.checkpoints import RunFolder
from xlm_core.training.main_rank import found_by_main

# Seconds after which a rank gives up waiting for another one.
LIMIT = 0.3


class Rank:
    """One of several, each in a thread; only that of the main one is to talk to the others."""

    def __init__(self, rank: int, values: list[float], barrier: threading.Barrier) -> None:
        self.rank, self.values, self.barrier = rank, values, barrier
        self.is_main = rank == 0
        self.calls = 0
        self.thread: int | None = None

    def of_all_ranks(self, value: float) -> list[float]:
        self.thread = self.thread or threading.get_ident()
        assert self.thread == threading.get_ident()
        self.calls += 1
        self.values[self.rank] = value
        self.barrier.wait(LIMIT)
        found = [*self.values]
        self.barrier.wait(LIMIT)
        return found

    def save_model(self, folder: str | Path) -> None:
        self.of_all_ranks(0.0)  # all ranks have shards
        if self.is_main:
            Path(folder).mkdir(exist_ok=True)


def each_rank(call: Callable[[Any], Any], number: int = 2) -> tuple[list[Any], list[Rank]]:
    """What `call` returned or raised on each rank."""
    barrier, values = threading.Barrier(number), [0.0] * number
    ranks = [Rank(rank, values, barrier) for rank in range(number)]

    def run(rank: Any) -> Any:
        try:
            return call(rank)
        except (CorpusError, CheckpointError, OSError) as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return [*pool.map(run, ranks)], ranks


def on_ranks(find: Callable[[], Any], number: int = 2) -> tuple[list[Any], list[Rank]]:
    """What `found_by_main` returned or raised on each rank."""
    return each_rank(lambda rank: found_by_main(rank, find, failed="could not count"), number)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_rank, "PAUSE", 0.05)


def slowly() -> int:
    time.sleep(2.5 * LIMIT)
    return 5


def test_others_do_not_give_up() -> None:
    found, ranks = on_ranks(slowly, 3)
    assert found == [5, None, None]
    assert len({rank.calls for rank in ranks}) == 1


def test_an_error_is_every_rank_s() -> None:
    def fail() -> int:
        raise CorpusError("no text")

    (of_main, of_other), _ = on_ranks(fail)
    assert isinstance(of_main, CorpusError)
    assert str(of_other) == "the main process could not count: its error says why."


def test_a_single_rank_needs_no_thread() -> None:
    (found,), _ = on_ranks(threading.get_ident, 1)
    assert found != threading.get_ident()  # that of `on_ranks`
    [rank] = on_ranks(lambda: None, 1)[1]
    assert rank.calls == 1


@pytest.mark.parametrize("fails", ["folder", "tokenizer", "nothing"])
def test_a_model_that_main_cannot_write_is_saved_by_nobody(tmp_path: Path, fails: str) -> None:
    def add(_: Path) -> None:
        if fails == "tokenizer":
            raise OSError("No space left on device")

    folder = tmp_path / "run"
    folder.write_text("") if fails == "folder" else folder.mkdir()
    run = RunFolder(folder, add_to_model=add)
    (main, other), _ = each_rank(lambda rank: run.save_model(rank, "best"))
    if fails == "nothing":
        assert main == other == folder / "best"
        assert [path.name for path in folder.iterdir()] == ["best"]
        return
    assert isinstance(main, OSError)
    assert isinstance(other, CheckpointError)
    assert folder.is_file() or not [*folder.iterdir()]
