"""What a caller looks on with: stopping criteria and a streamer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from xlm_core.errors import InputError
from xlm_core.generation import Settled

Criterion = Callable[[tf.Tensor, Any], Any]


class Callables:
    """The callables of one call.

    Args:
        stopping_criteria: One or several: (ids, scores) to what ends, bool, shape (rows,), or one
            bool for all. `ids` are int64, shape (rows, tokens), of all rows with their prompts;
            scores, those of every step so far with output_scores, else None.
        streamer: Has `put(ids)`, which gets the prompt and then the tokens of each step, and
            `end()`.
    """

    def __init__(self, stopping_criteria: Any = None, streamer: Any = None) -> None:
        self.criteria = _criteria(stopping_criteria)
        self.streamer = streamer
        for method in ("put", "end") if streamer is not None else ():
            if not callable(getattr(streamer, method, None)):
                raise InputError(
                    f"streamer is a {type(streamer).__name__} without {method}(): expected an "
                    "object with put(ids) and end(), such as transformers' TextStreamer."
                )

    @property
    def look_on(self) -> bool:
        """Whether there is any, so that rows stay where they are."""
        return bool(self.criteria) or self.streamer is not None

    def check(self, settled: Settled) -> None:
        """Raise `InputError` for a streamer of beams, whose tokens are known at the end only."""
        if self.streamer is not None and settled.num_beams > 1:
            raise InputError(
                f"streamer and num_beams={settled.num_beams} were given: which tokens come is only "
                "known at the end of beam search. Give one of them."
            )

    def stop(self, ids: NDArray[np.int64], scores: Any) -> NDArray[np.bool_]:
        """bool, shape (rows,): which rows end by some criterion."""
        stopped, tensor = np.zeros(len(ids), dtype=bool), tf.constant(ids)
        for criterion in self.criteria:
            stopped |= np.asarray(criterion(tensor, scores), dtype=bool)
        return stopped

    def put(self, ids: NDArray[np.int64]) -> None:
        """Give tokens to the streamer."""
        if self.streamer is not None:
            self.streamer.put(tf.constant(ids))

    def end(self) -> None:
        """Tell the streamer that no more come."""
        if self.streamer is not None:
            self.streamer.end()


def _criteria(given: Any) -> tuple[Criterion, ...]:
    """One criterion or several, as several."""
    # transformers' StoppingCriteriaList is a list, and can be called as well.
    several = tuple(given) if isinstance(given, Iterable) else () if given is None else (given,)
    for criterion in several:
        if not callable(criterion):
            raise InputError(
                f"stopping_criteria holds a {type(criterion).__name__}: expected callables of "
                "(input_ids, scores) that return what ends."
            )
    return several
