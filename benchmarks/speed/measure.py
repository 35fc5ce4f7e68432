"""One row: everybody prepares, then they take turns."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.pool import Pool, Process
from benchmarks.speed.results import LaneResult, Product, RowResult, limit_of
from benchmarks.speed.rows import PRODUCTS, Lane, Row
from benchmarks.speed.tasks import COMPARED_SENTENCES, Task

# Threads of some libraries wait for more work by spinning; they give up within this time.
PAUSE = 0.05
REFERENCE = "float64"
PRODUCTS_OF = {lane.contender for lane in PRODUCTS}
# A lane is stopped in a call that takes so many times as long as its row's fastest; its first call,
# in which much is made ready, and the calls of a small model may take so many seconds anyhow.
SLOWEST, FIRST_CALL, ANY_CALL = 20, 60.0, 2.0
# What has no answer to compare and no limit to keep to.
ALONE = ("one row", "parts", "few rows", "rounding", "update")


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: At most so many for a row,
        seconds: none begun after so many seconds of it,
        least: but so many at least.
        quick: Long rows and lanes are left out.
    """

    rounds: int = 5
    seconds: float = 20.0
    least: int = 3
    quick: bool = False


def measure(row: Row, pool: Pool, effort: Effort, later: Sequence[Row] = ()) -> RowResult:
    """Measure a row; what the `later` ones do not need is given up at its end."""
    lanes = lanes_of(row, effort)
    if row.task.kind == "memory":
        return RowResult(row, [measure_memory(row, lane, pool) for lane in lanes])
    turns = [Turn(lane, pool.of(lane.contender), row.task) for lane in [*lanes, *helpers_of(row)]]
    # Nothing is timed here, so all prepare at one time; meanwhile the judge speaks, and is done.
    for turn in turns:
        turn.ask("prepare", task=asdict(row.task), options=turn.lane.options)
    judges = [turn for turn in turns if turn.lane.contender == REFERENCE]
    for judge in judges:
        judge.ask("output", path=str(pool.folder / f"{REFERENCE}.npy"), warm=False)
        judge.ask("forget", kinds=[])
    for turn in turns:
        turn.hear()
    for judge in judges:
        judge.hear()
        judge.hear()
    turns = [turn for turn in turns if turn not in judges]
    ours = [turn for turn in turns if turn.lane.ours]
    result = RowResult(row, [turn.result for turn in turns[: len(lanes)]])
    if ours and all(turn.result.missing for turn in ours):
        result.lanes = [turn.result for turn in ours]
    else:
        warm_up(turns, pool)
        take_turns(turns, effort, pool)
        compare(turns, pool.folder)
        result.limits = limits_of(row, turns)
    for file in pool.folder.glob("*.npy"):
        file.unlink()
    release([*turns, *judges], pool, effort, later)
    return result


def lanes_of(row: Row, effort: Effort) -> list[Lane]:
    """Who takes part."""
    return [lane for lane in row.lanes if not (effort.quick and lane.long)]


def contenders_of(row: Row, effort: Effort) -> set[str]:
    """Whose workers of the pool a row needs."""
    if row.task.kind == "memory":
        return set()
    return {lane.contender for lane in [*lanes_of(row, effort), *helpers_of(row)]}


def warm_up(turns: list[Turn], pool: Pool) -> None:
    """Each one's output and first run: untimed, so two at a time.

    Products have no output, and say the least of a few tries.
    """
    waiting: list[Turn] = []
    for number, turn in enumerate(turns):
        if not turn.result.missing and turn.lane.contender not in PRODUCTS_OF:
            turn.output = pool.folder / f"{number}.npy"
            waiting.append(turn)
            turn.ask("output", path=str(turn.output), warm=True)
        if len(waiting) > 1:
            hear_first(waiting, turns, pool)
    while waiting:
        hear_first(waiting, turns, pool)


def hear_first(waiting: list[Turn], turns: list[Turn], pool: Pool) -> None:
    """Take the first call's answer in; what a stopped process was asked besides, ask again."""
    turn = waiting.pop(0)
    compiles = turn.lane.options.get("mode") is not None  # for as long as it wants
    turn.hear(None if compiles else FIRST_CALL)
    if turn.process.stopped:
        replace_stopped(turn, turns, pool)
        for other in waiting:
            if other.lane.contender == turn.lane.contender:
                other.ask("output", path=str(other.output), warm=True)


def replace_stopped(stopped: Turn, turns: list[Turn], pool: Pool) -> None:
    """Give the other lanes of a stopped process a new one, in which they prepare again."""
    process = pool.restart(stopped.lane.contender)
    stopped.process = process
    for turn in turns:
        if turn.lane.contender == stopped.lane.contender and turn is not stopped:
            turn.process = process
            turn.request("prepare", task=asdict(turn.task), options=turn.lane.options)


def release(turns: list[Turn], pool: Pool, effort: Effort, later: Sequence[Row]) -> None:
    """Let workers drop what they hold, but for models of later tasks, or end if nobody needs them.

    A model with its gradients and moments is 2.3 GB; ten workers that keep all do not fit.
    """
    unneeded = []
    for name in {turn.lane.contender for turn in turns}:
        kinds = {row.task.kind for row in later if name in contenders_of(row, effort)}
        if kinds:
            pool.of(name).ask({"do": "forget", "kinds": sorted(kinds)})
            pool.of(name).answer()
        else:
            unneeded.append(name)
    pool.end(unneeded)


def helpers_of(row: Row) -> list[Lane]:
    """The judge of errors, and the products that set the limit."""
    if row.task.kind in ALONE:
        return []
    if row.task.kind in ("generate", "pretrain"):  # of which tests say that it is right
        return [replace(lane, options={}) for lane in PRODUCTS]
    judge: dict[str, Any] = {"dtype": "float64", "plain": True}
    if row.task.kind == "encode":
        judge["sentences"] = COMPARED_SENTENCES
    first = row.lanes[0].options
    kept = {key: first[key] for key in ("dtype",) if key in first}
    if "quantized" in first:
        kept = {"dtype": "int8"}
    products = [replace(lane, options=kept) for lane in PRODUCTS]
    return [Lane(REFERENCE, REFERENCE, judge), *products]


class Turn:
    """A lane with its worker and what it has said so far."""

    def __init__(self, lane: Lane, process: Process, task: Task) -> None:
        self.lane = lane
        self.task = task
        self.process = process
        self.result = LaneResult(lane.name, lane.ours)
        self.products: list[Product] = []
        self.figures: dict[str, list[float]] = defaultdict(list)
        self.output: Path | None = None

    def ask(self, do: str, **values: Any) -> None:
        """Send a request."""
        self.process.ask({"do": do, "name": self.lane.name, **values})

    def hear(self, within: float | None = None) -> None:
        """Take an answer in; after more than `within` seconds, stop the process."""
        answer = self.process.answer(within)
        if self.process.stopped:
            answer = {"absent": f"stopped in a call that took more than {within:.1f} s"}
        failed = answer.get("failed")
        found = answer.get("absent") or (f"failed: {failed}" if failed else "")
        self.result.missing = self.result.missing or found
        self.result.version = answer.get("version", self.result.version)
        self.result.peak_mb = answer.get("peak_mb", self.result.peak_mb)
        self.products += answer.get("products", [])
        for name, figure in answer.get("figures", {}).items():
            self.figures[name].append(figure)
            self.result.details[name] = statistics.median(self.figures[name])
        if "seconds" in answer:
            self.result.seconds.append(answer["seconds"])

    def request(self, do: str, *, within: float | None = None, **values: Any) -> None:
        """Ask and hear, unless there is nobody to ask."""
        if self.result.missing:
            return
        self.ask(do, **values)
        self.hear(within)


def take_turns(turns: list[Turn], effort: Effort, pool: Pool | None = None) -> None:
    """A, B, C, A, B, C, ...: whatever the machine does meanwhile, it does to all.

    With a `pool`, lanes are stopped that take too long.
    """
    start = time.perf_counter()
    for number in range(effort.rounds):
        if number >= effort.least and time.perf_counter() - start > effort.seconds:
            return
        for turn in turns:
            time.sleep(PAUSE)
            products = turn.lane.contender in PRODUCTS_OF
            turn.request("run", within=None if pool is None or products else longest(turns))
            if pool is not None and turn.process.stopped:
                replace_stopped(turn, turns, pool)
                warm_up_again(turn, turns)


def warm_up_again(stopped: Turn, turns: list[Turn]) -> None:
    """Run the other lanes of a process that was replaced once, untimed."""
    for turn in turns:
        if turn.process is stopped.process and turn is not stopped and not turn.result.missing:
            measured = list(turn.result.seconds)
            turn.request("run")
            turn.result.seconds = measured


def longest(turns: list[Turn]) -> float:
    """Seconds that a call may take, by the row's fastest until now."""
    seconds = [
        second
        for turn in turns
        if turn.lane.contender not in PRODUCTS_OF
        for second in turn.result.seconds
    ]
    task = turns[0].task
    in_a_call = task.new + 1 if task.kind == "generate" else 1  # of what the seconds are of
    return max(SLOWEST * min(seconds) * in_a_call, ANY_CALL) if seconds else FIRST_CALL


def compare(turns: list[Turn], folder: Path) -> None:
    """Set the errors of each lane by what the judge wrote."""
    judge = folder / f"{REFERENCE}.npy"
    expected = np.load(judge) if judge.exists() else None
    for turn in turns:
        if expected is not None and turn.output is not None and turn.output.exists():
            turn.result.error, turn.result.rms = errors(np.load(turn.output), expected)


def errors(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest difference over the largest value, and root mean square over root mean square.

    Of hidden states, shape (batch, sequence, hidden), `expected` may hold the first sentences.
    """
    difference = (found[: len(expected)] if found.ndim == 3 else found) - expected
    largest = np.abs(difference).max() / np.abs(expected).max()
    return float(largest), float(np.linalg.norm(difference) / np.linalg.norm(expected))


def limits_of(row: Row, turns: list[Turn]) -> dict[str, Any]:
    """The limit by the best product of each framework, and of both."""
    named = {turn.lane.contender: turn.products for turn in turns if turn.products}
    named[""] = [product for products in named.values() for product in products]
    figures = [turn.result.details.get("seconds a byte") for turn in turns]
    memory = min((each for each in figures if each), default=0.0)
    limits = {name: limit_of(row.task, products, memory) for name, products in named.items()}
    return {name: limit for name, limit in limits.items() if limit is not None}


def measure_memory(row: Row, lane: Lane, pool: Pool) -> LaneResult:
    """Of a process that does nothing else."""
    turn = Turn(lane, pool.fresh(lane.contender), row.task)
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
