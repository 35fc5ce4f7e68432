"""How many lines are computed together."""

from __future__ import annotations

from dataclasses import dataclass

from xlm_core.errors import InputError


@dataclass(frozen=True)
class Limits:
    """How many lines are computed together. The order of the output does not depend on it.

    Attributes:
        batch_size: Largest number of lines in a batch.
        batch_tokens: Largest number of tokens in a batch, padding included.
        window_lines: Number of lines that are read, sorted by length and written together. A run
            that is killed loses what it has computed of one window.
    """

    batch_size: int = 32
    batch_tokens: int = 4096
    window_lines: int = 1024

    def check(self) -> None:
        """Refuse limits that are no positive whole numbers.

        Raises:
            InputError: If one is not.
        """
        for name, value in vars(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {value!r}; expected a whole number from 1 on.")
