"""The random numbers of sampling: one for each row of a call and each step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlm_core.errors import InputError


def uniform_numbers(seed: int, rows: int, steps: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), each determined by the seed, its row and its step alone.

    So a row draws the same numbers whoever its neighbours are, however many steps are asked for,
    and in both frameworks.

    Args:
        seed: In [0, 2**64).
        rows: Rows of the call: sentences, each repeated for every sequence asked of it.
        steps: Steps to draw for.

    Returns:
        float64, shape (rows, steps).

    Raises:
        InputError: If the seed is no such number.
    """
    seed = checked_seed(seed)
    numbers = np.empty((rows, steps))
    for row in range(rows):
        # A counter-based generator: its two keys make the stream of this row.
        key = np.array([seed, row], dtype=np.uint64)
        numbers[row] = np.random.Generator(np.random.Philox(key=key)).random(steps)
    return numbers


def checked_seed(seed: Any) -> int:
    """The seed as an int.

    Raises:
        InputError: If it is no whole number in [0, 2**64).
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r:.60}: expected a whole number in [0, 2**64).")
    return int(seed)
