"""What the original's stream, batches and evaluation masks are, written plainly, by definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def stream(sentences: Any, rows: int, bptt: int, eos: int) -> list[Any]:
    """All windows of running text, each (rows, bptt), in order."""
    number = math.ceil(len(sentences) / (rows * bptt))
    text = [eos] * (number * rows * bptt - len(sentences)) + list(sentences)
    length = number * bptt
    whole = [[eos, *text[row * length : (row + 1) * length]] for row in range(rows)]
    return [
        np.array([row[window * bptt : (window + 1) * bptt] for row in whole])
        for window in range(number)
    ]


def joined(first: list[int], second: list[int], eos: int) -> tuple[list[int], list[int], list[int]]:
    """Ids, positions, and which sentence, of one pair."""
    one, two = [eos, *first, eos], [eos, *second, eos]
    return one + two, [*range(len(one)), *range(len(two))], [0] * len(one) + [1] * len(two)
