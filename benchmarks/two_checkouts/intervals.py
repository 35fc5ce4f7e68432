"""The median of ratios, and an interval that holds it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Of the median: `low` to `high`, around the sample's `median`."""

    median: float
    low: float
    high: float

    def lies_above(self, bound: float) -> bool:
        """Whether no value of it is `bound` or less."""
        return self.low > bound

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval_of_median(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The narrowest pair of order statistics that hold the median with this probability.

    Each value lies above the median with a probability of one half, so the number of those that
    do is binomial: the k-th smallest and the k-th largest value fail to hold the median with the
    probability of fewer than k heads in as many tosses, twice. No distribution is assumed. For 95 %
    six values are needed: the interval of fewer is everything.
    """
    ordered, count = sorted(values), len(values)
    rank, outside = 0, 0.0
    for candidate in range(1, (count + 1) // 2 + 1):
        outside += 2 * math.comb(count, candidate - 1) / 2**count
        if outside > 1 - confidence:
            break
        rank = candidate
    if rank == 0:
        return Interval(statistics.median(ordered), 0.0, math.inf)
    return Interval(statistics.median(ordered), ordered[rank - 1], ordered[count - rank])
