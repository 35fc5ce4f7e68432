"""What was measured, and the figures that follow from it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.rows import Bar, Row
from benchmarks.speed.tasks import Task, attention_operations, bytes_of_update, passes, products_of

# [name, rows, inputs, outputs, seconds]
Product = list[Any]


@dataclass
class LaneResult:
    """A line of a row.

    Attributes:
        name, ours: As of its `Lane`.
        version: Of its library.
        missing: Why there is nothing to see.
        seconds: One for each round.
        error: Largest difference from float64 over the largest value.
        rms: Root mean square of the difference over that of the values.
        peak_mb: Of the process while it ran, everything that lies in it included.
        details: Else: GB/s or rounding by product; parts of memory.
    """

    name: str
    ours: bool = False
    version: str = ""
    missing: str = ""
    seconds: list[float] = field(default_factory=list)
    error: float | None = None
    rms: float | None = None
    peak_mb: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seconds)

    @property
    def step_mb(self) -> float:
        """Of a training step: the peak without parameters, gradients and optimizer state."""
        return self.details["peak_mb"] - self.details["known_mb"]


@dataclass(frozen=True)
class Limit:
    """What the products of a task take at the best rate measured in the same rounds.

    Attributes:
        seconds: For all floating-point operations of the task.
        rate: The rate, in operations a second.
        by: Names of the best products.
        memory: Of `seconds`, those of the memory that the optimizer reads and writes.
    """

    seconds: float
    rate: float
    by: tuple[str, ...]
    memory: float = 0.0


def limit_of(task: Task, products: list[Product], seconds_a_byte: float = 0.0) -> Limit | None:
    """The limit by these products, of as many rounds as there were; None if one is not measured.

    Args:
        task: Whose.
        products: As they were measured.
        seconds_a_byte: What streaming memory takes at its best.
    """
    times: dict[tuple[int, int, int], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for name, rows, inputs, outputs, seconds in products:
        times[rows, inputs, outputs][name].append(seconds)
    total, operations, names = 0.0, 0, []
    for shape, count in products_of(task).items():
        if shape not in times:
            return None
        medians = {name: statistics.median(found) for name, found in times[shape].items()}
        best = min(medians, key=medians.__getitem__)
        names.append(best)
        total += count * medians[best]
        operations += count * 2 * shape[0] * shape[1] * shape[2]
    rate = operations / total
    everything = passes(task) * (operations + attention_operations(task))
    memory = bytes_of_update(task) * seconds_a_byte
    return Limit(everything / rate + memory, rate, tuple(dict.fromkeys(names)), memory)


@dataclass
class RowResult:
    """A row: its lanes, and its limits by contender ("" for the best of all)."""

    row: Row
    lanes: list[LaneResult]
    limits: dict[str, Limit] = field(default_factory=dict)

    def lane(self, name: str) -> LaneResult | None:
        """The lane of this name, if it was measured."""
        return next((x for x in self.lanes if x.name == name and not x.missing), None)

    def ratio(self, ours: str, peer: str) -> float | None:
        """The peer's time (or memory) over ours: the median of the pairs in each round."""
        left, right = self.lane(ours), self.lane(peer)
        if left is None or right is None:
            return None
        if self.row.task.kind == "memory":
            return right.step_mb / left.step_mb
        pairs = zip(right.seconds, left.seconds, strict=True)
        return statistics.median(theirs / own for theirs, own in pairs)

    def bars(self) -> list[dict[str, Any]]:
        """Each bar with its ratio, whether it is met, and the ratio that the limit would give."""
        found = []
        for bar in self.row.bars:
            ratio = self.ratio(bar.ours, bar.peer)
            if ratio is not None:
                found.append(self._judged(bar, ratio))
        return found

    def _judged(self, bar: Bar, ratio: float) -> dict[str, Any]:
        limit, peer = self.limits.get(""), self.lane(bar.peer)
        assert peer is not None
        at_limit = peer.median / limit.seconds if limit and peer.seconds else None
        return {
            "ours": bar.ours,
            "peer": bar.peer,
            "ratio": ratio,
            "at_least": bar.at_least,
            "allowance": bar.allowance,
            "met": ratio >= bar.at_least * (1 - bar.allowance),
            "limit_ratio": at_limit,
            "out_of_reach": at_limit is not None and at_limit < bar.at_least,
        }

    def share(self, lane: LaneResult, by: str = "") -> float | None:
        """The limit over the lane's time."""
        if by not in self.limits or not lane.seconds:
            return None
        return self.limits[by].seconds / lane.median

    def shares(self) -> list[dict[str, Any]]:
        """Each share of a limit that is asked for."""
        found = []
        for name, (at_least, by) in self.row.shares.items():
            lane = self.lane(name)
            share = None if lane is None else self.share(lane, by)
            if share is not None:
                met = share >= at_least
                found.append(
                    {"ours": name, "by": by, "share": share, "at_least": at_least, "met": met}
                )
        return found
