"""Statistics of tensors: smallest, largest, mean, deviation, NaN and infinite values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from conversion.reports.inspection import Values
from xlm_core.checkpoints.filling import Progress, in_parallel
from xlm_core.checkpoints.tensors import LazyTensor

# Small enough that the passes over a block stay in the processor's cache.
_BLOCK = 1 << 20


def values_of(tensors: Sequence[LazyTensor], progress: Progress | None = None) -> list[Values]:
    """Read tensors block by block and describe the values of each.

    Args:
        tensors: The tensors to read.
        progress: Called with the number of bytes read, from several threads.
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
                # Each block has its own mean, and these are combined: no digits are lost where the
                # mean is large compared with the deviation.
                smallest, largest = min(smallest, wide.min()), max(largest, wide.max())
                here = wide.mean()
                gap, together = here - mean, count + wide.size
                # Not a dot product: the threads of BLAS would wait for one another here.
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
