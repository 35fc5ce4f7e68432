"""What the values of tensors are: smallest, largest, mean, deviation, and what is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Progress, in_parallel

# Small enough that the passes over a block stay in the processor's cache.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Values:
    """The values of a tensor; numbers over the finite ones, None where there are none.

    Attributes:
        nan, infinite: How many are NaN, and how many infinite.
        smallest, largest, mean: As they say.
        deviation: Standard deviation, of all values (divided by their number).
    """

    nan: int
    infinite: int
    smallest: float | None = None
    largest: float | None = None
    mean: float | None = None
    deviation: float | None = None


def values_of(tensors: Sequence[LazyTensor], progress: Progress | None = None) -> list[Values]:
    """Read tensors, a block at a time, and describe the values of each.

    Args:
        tensors: Any.
        progress: Called with numbers of bytes, from several threads.
    """

    def describe(tensor: LazyTensor) -> Values:
        return _values(tensor, progress)

    return in_parallel(describe, tensors)


def _values(tensor: LazyTensor, progress: Progress | None) -> Values:
    nan = infinite = count = 0
    smallest, largest, mean, squares = math.inf, -math.inf, 0.0, 0.0
    for block in tensor.blocks(_BLOCK):
        with np.errstate(all="ignore"):
            wide = block.reshape(-1).astype(np.float64)
            if not np.isfinite(wide.sum()):
                nan += int(np.isnan(wide).sum())
                infinite += int(np.isinf(wide).sum())
                wide = wide[np.isfinite(wide)]
            if wide.size:
                # Each block by its own mean, and these put together: no digits are lost where
                # the mean is large beside the deviation.
                smallest, largest = min(smallest, wide.min()), max(largest, wide.max())
                here = wide.mean()
                gap, together = here - mean, count + wide.size
                # No product of BLAS: its own threads would wait for one another here.
                squares += np.square(wide - here).sum() + gap * gap * count * wide.size / together
                mean += gap * wide.size / together
                count = together
        if progress:
            progress(block.nbytes)
    if not count:
        return Values(nan, infinite)
    return Values(
        nan,
        infinite,
        float(smallest),
        float(largest),
        float(mean),
        float(np.sqrt(squares / count)),
    )
