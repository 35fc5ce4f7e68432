"""One row: everybody prepares, then they take turns."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.pool import Pool, Process
from benchmarks.speed.results import LaneResult, Product, RowResult, limit_of
from benchmarks.speed.rows import Lane, Row

# Threads of some libraries wait for more work by spinning; they give up within this time.
PAUSE = 0.05
REFERENCE = "float64"
PRODUCTS = ("products, PyTorch", "products, TensorFlow")
# Sentences do not see each other: of a large batch the first ones are compared.
COMPARED_SENTENCES = 4


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: At most so many for a row,
        seconds: none begun after so many seconds of it,
        least: but so many at least.
        quick: Long rows and lanes are left out.
    """

    rounds: int = 7
    seconds: float = 60.0
    least: int = 3
    quick: bool = False


def measure(row: Row, pool: Pool, effort: Effort) -> RowResult:
    """Measure a row."""
    lanes = [lane for lane in row.lanes if not (effort.quick and lane.long)]
    if row.task.kind == "memory":
        return RowResult(row, [measure_memory(row, lane, pool) for lane in lanes])
    helpers = [] if row.task.kind == "one row" else helpers_of(row)
    turns = [Turn(lane, pool.of(lane.contender)) for lane in [*lanes, *helpers]]
    # Nothing is timed here, so all prepare at one time.
    for turn in turns:
        turn.ask("prepare", task=asdict(row.task), options=turn.lane.options)
    for turn in turns:
        turn.hear()
    ours = [turn for turn in turns if turn.lane.ours]
    if ours and all(turn.result.missing for turn in ours):
        forget(turns)
        return RowResult(row, [turn.result for turn in ours])
    for turn in turns:
        turn.request("output", path=str(pool.folder / f"{turns.index(turn)}.npy"))
    take_turns([turn for turn in turns if turn.lane.contender != REFERENCE], effort)
    result = RowResult(row, [turn.result for turn in turns[: len(lanes)]])
    compare(turns, pool.folder)
    result.limits = limits_of(row, turns)
    forget(turns)
    return result


def forget(turns: list[Turn]) -> None:
    """Let the workers drop what they prepared."""
    for process in {id(turn.process): turn.process for turn in turns}.values():
        process.ask({"do": "forget"})
        process.answer()


def helpers_of(row: Row) -> list[Lane]:
    """The judge of errors, and the products that set the limit."""
    judge: dict[str, Any] = {"dtype": "float64", "plain": True}
    if row.task.kind == "encode":
        judge["sentences"] = COMPARED_SENTENCES
    first = row.lanes[0].options
    kept = {key: first[key] for key in ("dtype",) if key in first}
    products = [] if "quantized" in first else [Lane(name, name, kept) for name in PRODUCTS]
    return [Lane(REFERENCE, REFERENCE, judge), *products]


class Turn:
    """A lane with its worker and what it has said so far."""

    def __init__(self, lane: Lane, process: Process) -> None:
        self.lane = lane
        self.process = process
        self.result = LaneResult(lane.name, lane.ours)
        self.products: list[Product] = []
        self.rates: dict[str, list[float]] = defaultdict(list)
        self.output: Path | None = None

    def ask(self, do: str, **values: Any) -> None:
        """Send a request."""
        self.process.ask({"do": do, "name": self.lane.name, **values})

    def hear(self) -> None:
        """Take an answer in."""
        answer = self.process.answer()
        failed = answer.get("failed")
        self.result.missing = answer.get("absent") or (f"failed: {failed}" if failed else "")
        self.result.version = answer.get("version", self.result.version)
        self.result.peak_mb = answer.get("peak_mb", self.result.peak_mb)
        self.products += answer.get("products", [])
        for name, rate in answer.get("rates", {}).items():
            self.rates[name].append(rate)
            self.result.details[name] = statistics.median(self.rates[name])
        if "seconds" in answer:
            self.result.seconds.append(answer["seconds"])

    def request(self, do: str, **values: Any) -> None:
        """Ask and hear, unless there is nobody to ask."""
        if self.result.missing:
            return
        self.ask(do, **values)
        self.hear()
        if do == "output" and not self.result.missing:
            self.output = Path(values["path"])


def take_turns(turns: list[Turn], effort: Effort) -> None:
    """A, B, C, A, B, C, ...: whatever the machine does meanwhile, it does to all."""
    start = time.perf_counter()
    for number in range(effort.rounds):
        if number >= effort.least and time.perf_counter() - start > effort.seconds:
            return
        for turn in turns:
            time.sleep(PAUSE)
            turn.request("run")


def compare(turns: list[Turn], folder: Path) -> None:
    """Set the error of each lane: the largest difference from float64 over the largest value."""
    judges = [turn for turn in turns if turn.lane.contender == REFERENCE]
    if not judges or judges[0].output is None or not judges[0].output.exists():
        return
    expected = np.load(judges[0].output)
    largest = np.abs(expected).max()
    for turn in turns:
        if turn.output is not None and turn.output.exists():
            found = np.load(turn.output)
            if found.ndim == 3:
                found = found[: len(expected)]
            turn.result.error = float(np.abs(found - expected).max() / largest)
    for file in folder.glob("*.npy"):
        file.unlink()


def limits_of(row: Row, turns: list[Turn]) -> dict[str, Any]:
    """The limit by the best product of each framework, and of both."""
    named = {turn.lane.contender: turn.products for turn in turns if turn.products}
    named[""] = [product for products in named.values() for product in products]
    limits = {name: limit_of(row.task, products) for name, products in named.items()}
    return {name: limit for name, limit in limits.items() if limit is not None}


def measure_memory(row: Row, lane: Lane, pool: Pool) -> LaneResult:
    """Of a process that does nothing else."""
    turn = Turn(lane, pool.fresh(lane.contender))
    turn.request("prepare", task=asdict(row.task), options=lane.options)
    if not turn.result.missing:
        turn.ask("run")
        answer = turn.process.answer()
        turn.result.missing = answer.get("absent") or answer.get("failed") or ""
        names = ("peak_mb", "known_mb", "libraries_mb")
        turn.result.details = {name: answer[name] for name in names if name in answer}
        turn.result.peak_mb = answer.get("peak_mb")
    turn.process.close()
    return turn.result
