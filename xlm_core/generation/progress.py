"""Which rows of a batch go on: for greedy search and sampling, where each row is a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from xlm_core.errors import GenerationError

# Stands for the next token where there is none: the scores are NaN, or rule out every token.
NO_CHOICE = -1


def refuse_no_choice(rows: NDArray[Any]) -> NoReturn:
    """Raise `GenerationError` for rows, or sentences, of the call that cannot go on."""
    named = ", ".join(map(str, rows[:10].tolist()))
    raise GenerationError(
        f"there is no next token for row {named} of the call: its scores are NaN, or all tokens "
        "are ruled out. Look for weights that are NaN or infinite (`xlm inspect --values`), for "
        "overflow in float16, or for settings that ban too much (bad_words_ids, "
        "no_repeat_ngram_size)."
    )


class Progress:
    """Takes the next token of every row, and says which rows go on.

    A row ends with the end-of-sentence token, or at its limit.

    Args:
        limits: int64, shape (rows,): how many tokens each row may get.
        eos: Tokens that end a row.
        pad: What fills a row after its end.
        closing: The token that replaces the last one of a row that reaches its limit without an
            end-of-sentence token; None: nothing does.
        drops_finished: Whether finished rows leave the batch; else they stay in it, and what is
            predicted for them is not used.

    Attributes:
        rows: int64, shape (active,): which rows of the call those of the batch are.
    """

    def __init__(
        self,
        limits: NDArray[np.int64],
        *,
        eos: Sequence[int],
        pad: int,
        closing: int | None,
        drops_finished: bool = True,
    ) -> None:
        self.limits, self.eos, self.pad, self.closing = limits, eos, pad, closing
        self.drops_finished = drops_finished
        self.rows = np.arange(len(limits))
        self._unfinished = np.ones(len(limits), dtype=bool)  # of the rows of the call
        self._ids = np.full((len(limits), int(limits.max(initial=0))), pad, dtype=np.int64)
        self._steps = 0

    @property
    def done(self) -> bool:
        """Whether no row goes on."""
        return not self._unfinished.any()

    def step(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Take the token that was predicted for every row of the batch.

        Args:
            ids: int64, shape (active,); `NO_CHOICE` where there is none.

        Returns:
            The tokens that the rows of the next batch end with, int64, shape (active then,), and
            which rows of this batch these are, int64, shape (active then,); None: all of them.

        Raises:
            GenerationError: If there is no token for a row that is not finished.
        """
        unfinished = self._unfinished[self.rows]
        ids = np.where(unfinished, ids, self.pad)
        if (ids == NO_CHOICE).any():
            refuse_no_choice(self.rows[ids == NO_CHOICE])
        self._steps += 1
        ended = np.isin(ids, self.eos) & unfinished
        at_limit = (self.limits[self.rows] <= self._steps) & unfinished
        if self.closing is not None:
            ids = np.where(at_limit & ~ended, self.closing, ids)
        self._ids[self.rows, self._steps - 1] = ids
        return self._without(ended | at_limit, ids)

    def stop(
        self, rows: NDArray[np.bool_], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """End rows for another reason, after `step`.

        Args:
            rows: bool, shape (active,): True for a row of the batch that ends.
            ids: The tokens that they end with.

        Returns:
            As `step`.
        """
        return self._without(rows, ids)

    def _without(
        self, ended: NDArray[np.bool_], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        if not ended.any():
            return ids, None
        self._unfinished[self.rows[ended]] = False
        if not self.drops_finished:
            return ids, None
        (going_on,) = (~ended).nonzero()
        self.rows = self.rows[going_on]
        return ids[going_on], going_on

    def generated(self) -> NDArray[np.int64]:
        """What the rows got, padded after their end: int64, shape (rows, steps)."""
        return self._ids[:, : self._steps]
