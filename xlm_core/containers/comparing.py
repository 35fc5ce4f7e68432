"""Compare lazy tensors, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, Array, LazyTensor
from xlm_core.containers.streaming import Progress, in_parallel


@dataclass(frozen=True)
class Comparison:
    """How two tensors of one shape and dtype compare.

    Attributes:
        differing: Number of elements whose bits differ.
        largest: Largest absolute difference of these; NaN where one is not finite.
        not_finite: Number of NaN and infinite elements of the first.
    """

    differing: int = 0
    largest: float = 0.0
    not_finite: int = 0


def same_values(first: LazyTensor, second: LazyTensor) -> bool:
    """Whether two tensors have the same dtype, shape and bits."""
    if first.place == second.place:
        return True
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return all(np.array_equal(bits(a), bits(b)) for a, b in first.blocks_with(second))


def compare_tensors(
    pairs: Iterable[tuple[LazyTensor, LazyTensor]], progress: Progress | None = None
) -> list[Comparison]:
    """Compare pairs of tensors, each of one shape and dtype, bit by bit.

    Args:
        pairs: The tensors.
        progress: Called with numbers of bytes, from several threads.

    Returns:
        A comparison for each pair.
    """

    def compare(pair: tuple[LazyTensor, LazyTensor]) -> Comparison:
        differing, largest, not_finite = 0, 0.0, 0
        for first, second in pair[0].blocks_with(pair[1]):
            not_finite += count_not_finite(first)
            if not np.array_equal(bits(first), bits(second)):
                count, gap = _difference(first, second)
                differing += count
                largest = max(largest, gap) if gap == gap else gap
            if progress:
                progress(first.nbytes)
        return Comparison(differing, largest, not_finite)

    return in_parallel(compare, pairs)


def count_not_finite(array: Array) -> int:
    """Number of NaN and infinite elements; 0 for whole numbers."""
    if array.dtype.name not in FLOAT_DTYPES or array.size == 0:
        return 0
    # One pass without a copy: a sum is finite only if everything in it is. It may overflow where
    # nothing is wrong, so only then is each element looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.add.reduce(array, axis=None, dtype=_wide(array)))
    return 0 if np.isfinite(total) else int(np.count_nonzero(~np.isfinite(array)))


def bits(array: Array) -> Array:
    """View a contiguous array as unsigned integers, 64-bit ones if its size allows."""
    flat = array.reshape(-1)
    wide = flat.nbytes % 8 == 0 and flat.size
    return flat.view(np.uint64 if wide else np.uint8)


def _difference(first: Array, second: Array) -> tuple[int, float]:
    unsigned = f"u{first.dtype.itemsize}"
    differ = first.reshape(-1).view(unsigned) != second.reshape(-1).view(unsigned)
    wide: Any = np.float64
    with np.errstate(invalid="ignore"):
        gaps = first.reshape(-1)[differ].astype(wide) - second.reshape(-1)[differ].astype(wide)
    return int(differ.sum()), float(np.abs(gaps).max())


def _wide(array: Array) -> Any:
    return np.float64 if array.dtype.name == "float64" else np.float32
