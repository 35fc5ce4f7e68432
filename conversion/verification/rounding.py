"""Compare tensors of different dtypes: the same numbers, rounded ones, or other numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from xlm_core.checkpoints.comparing import bits, count_not_finite
from xlm_core.checkpoints.filling import Progress, in_parallel
from xlm_core.checkpoints.tensors import DTYPES, Array, LazyTensor


@dataclass(frozen=True)
class Rounding:
    """How two tensors of the same shape and of different float dtypes compare.

    Attributes:
        differing: Number of values that are not the same number.
        largest: Largest absolute difference among these; NaN if one of them is not finite.
        rounded: The dtype, of the two, to which rounding makes both equal bit by bit; None if
            there is none.
        not_finite: Number of NaN and infinite values of the first tensor.
    """

    differing: int
    largest: float
    rounded: str | None
    not_finite: int


def compare_rounded(
    pairs: Iterable[tuple[LazyTensor, LazyTensor]], progress: Progress | None = None
) -> list[Rounding]:
    """Compare pairs of tensors that have one shape and different float dtypes.

    Args:
        pairs: The pairs of tensors.
        progress: Called with the number of bytes read of the first tensor, from several threads.
    """

    def compare(pair: tuple[LazyTensor, LazyTensor]) -> Rounding:
        return _compare(*pair, progress)

    return in_parallel(compare, pairs)


def _compare(first: LazyTensor, second: LazyTensor, progress: Progress | None) -> Rounding:
    differing, largest, not_finite = 0, 0.0, 0
    # The narrower dtype first: equality in the wider one means that nothing was rounded.
    candidates = sorted((first.dtype, second.dtype), key=lambda name: DTYPES[name].itemsize)
    wide = (first.astype("float64"), second.astype("float64"))
    for a, b in zip(*(tensor.blocks() for tensor in wide), strict=True):
        not_finite += count_not_finite(a)
        unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
        if unequal.any():
            with np.errstate(invalid="ignore"):
                gap = float(np.abs(a[unequal] - b[unequal]).max())
            differing += int(unequal.sum())
            largest = max(largest, gap) if math.isfinite(gap) and largest == largest else math.nan
        candidates = [dtype for dtype in candidates if _same_bits(a, b, dtype)]
        if progress:
            progress(a.size * DTYPES[first.dtype].itemsize)
    return Rounding(differing, largest, candidates[0] if candidates else None, not_finite)


def _same_bits(first: Array, second: Array, dtype: str) -> bool:
    # Values that are too large for the dtype become infinite in both.
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = [np.asarray(array).astype(DTYPES[dtype]) for array in (first, second)]
    return np.array_equal(bits(rounded[0]), bits(rounded[1]))
