"""Warn about NaN and infinite values in what is loaded, and refuse those that would become so."""

from __future__ import annotations

from xlm_core.containers.comparing import count_not_finite
from xlm_core.containers.lazy_tensors import Array, check_range
from xlm_core.errors import warn


class FiniteCheck:
    """Looks for NaN and infinities in tensors as they are read, and warns once about all of them.

    Args:
        source: What messages call the checkpoint.
        dtype: What the tensors become, such as "float16".
    """

    def __init__(self, source: str, dtype: str) -> None:
        self._source = source
        self._dtype = dtype
        self._found: dict[str, int] = {}

    def see(self, path: str, array: Array) -> Array:
        """Count what is not finite in an array, and return the array; from any thread.

        Raises:
            CheckpointError: If a finite value would become infinite in the dtype wanted.
        """
        check_range(array, self._dtype, f"{self._source}, {path}")
        count = count_not_finite(array)
        if count:
            self._found[path] = count
        return array

    def report(self) -> None:
        """Warn if there were NaN or infinities."""
        if self._found:
            listed = [f"{path} ({count})" for path, count in sorted(self._found.items())]
            more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
            warn(
                f"{self._source} holds values that are NaN or infinite, in {', '.join(listed[:5])}"
                f"{more}: what is computed from them will be, too."
            )
