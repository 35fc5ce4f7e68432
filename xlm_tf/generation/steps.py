"""A decoding step by step, each step one graph: for what is decided between the steps.

That is the bookkeeping of beams, which is core's, and what callables see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from xlm_core.generation import Settled
from xlm_tf.fast.graphs import compiled
from xlm_tf.generation.decoding import Decoding, State, Tensors, moved_left, room_for, select
from xlm_tf.generation.logits import NO_TOKEN, ScoreRules, sharpen
from xlm_tf.generation.sampling import best_tokens, sample
from xlm_tf.layers import shape_of
from xlm_tf.losses import at_least_float32

Found = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Wanted:
    """What a step returns.

    Attributes:
        candidates: How many candidates of each sentence; 0: the next token of each row.
        beams: Rows of each sentence.
        scores: Whether the scores of all tokens are wanted too.
    """

    candidates: int
    beams: int
    scores: bool


class Steps:
    """The steps of one call, and the state between them.

    Args:
        model: Whose methods `_first_step` and `_next_step` compute them.
        decoding: The class of what gives the logits.
        given: What its `first` takes.
        settled: What the call does.
    """

    def __init__(
        self,
        model: Any,
        decoding: type[Decoding],
        given: Tensors,
        settled: Settled,
    ) -> None:
        self.model, self.decoding, self.given, self.settled = model, decoding, dict(given), settled
        self.wanted = Wanted(0, settled.num_beams, settled.output_scores)
        self.rules = ScoreRules.of(settled)
        self._minimums = settled.rows(settled.minimums)
        self._length = int(given["input_ids"].shape[1])
        self._room = 0
        self._generated = 0
        self._state: State = {}

    def first(self, *, candidates: int = 0, **values: NDArray[Any] | None) -> Found:
        """Read the prompts, and score what comes next.

        Args:
            candidates: See `Wanted`; at all steps.
            values: Of each row: numbers, float64, what samples are drawn by; sums, float64, of
                log-probabilities.

        Returns:
            chosen, int64, shape (rows,), or sums, float, and indices, integer, shape (sentences,
            candidates), the best first; and scores, float, shape (rows, vocabulary), if wanted.
        """
        self.wanted = replace(self.wanted, candidates=candidates)
        self._room = room_for(self._length + 1)
        tensors = {**self.given, "capacity": tf.constant(self._room)}
        return self._run("_first_step", tensors, self._minimums, values, copies=self.settled.copies)

    def next(
        self,
        ids: NDArray[np.int64],
        sources: NDArray[np.int64] | None,
        rows: NDArray[np.int64],
        *,
        sentences: bool = True,
        **values: NDArray[Any] | None,
    ) -> Found:
        """Append a token to each row, and score what comes next.

        Args:
            ids: int64, shape (rows,): the tokens.
            sources: int64, shape (rows,): which of the present rows each goes on from; None: all
                stay.
            rows: int64, shape (rows,): which rows of the call these are.
            sentences: As in `select`.
            values: As in `first`.

        Returns:
            As `first`.
        """
        if self._length == self._room:
            self._room = room_for(self._length + 1)
            held = {name: x for name, x in self._state.items() if name != "history"}
            self._state |= self.decoding(self.model).grow(held, self._room)
        tensors = {**self._state, "ids": tf.constant(ids)}
        if sources is not None:
            tensors["sources" if sentences else "beams"] = tf.constant(sources)
        self._length += 1
        return self._run("_next_step", tensors, self._minimums[rows], values)

    def _run(
        self,
        method: str,
        tensors: dict[str, tf.Tensor],
        minimums: NDArray[np.int64],
        values: Mapping[str, NDArray[Any] | None],
        **options: Any,
    ) -> Found:
        tensors |= {name: tf.constant(x) for name, x in values.items() if x is not None}
        tensors |= {"minimums": tf.constant(minimums), "generated": tf.constant(self._generated)}
        self._generated += 1
        results = compiled(
            self.model,
            method,
            tensors,
            steps=1,
            decoding=self.decoding,
            rules=self.rules,
            wanted=self.wanted,
            **options,
        )
        self._state = {name: x for name, x in results.items() if name not in _FOUND}
        return {name: results[name].numpy() for name in _FOUND if name in results}


_FOUND = ("chosen", "sums", "indices", "scores")
_OF_STEP = ("ids", "sources", "beams", "minimums", "generated", "numbers", "sums")


def first_step(
    decoding: Decoding, tensors: Tensors, *, rules: ScoreRules, wanted: Wanted, copies: int
) -> dict[str, tf.Tensor]:
    """Read the prompts, and score what comes next.

    Args:
        decoding: What gives the logits.
        tensors: What `CachedDecoding.first` takes, its capacity, and what `Steps` gives.
        rules: What is asked of the scores.
        wanted: What is returned.
        copies: Rows of each prompt.

    Returns:
        What `Steps.first` says, and the state.
    """
    logits, state = decoding.first(tensors, tensors["capacity"])
    if rules.look_back:
        state["history"] = history_of(tensors)
    if copies > 1:
        rows = tf.repeat(tf.range(shape_of(logits)[0]), copies)
        state, logits = select(state, rows), tf.gather(logits, rows)
    return state | _found(logits, state.get("history"), tensors, rules, wanted)


def next_step(
    decoding: Decoding, tensors: Tensors, *, rules: ScoreRules, wanted: Wanted
) -> dict[str, tf.Tensor]:
    """Append a token to each row, and score what comes next.

    Args:
        decoding, rules, wanted: As in `first_step`.
        tensors: The state, and what `Steps` gives.

    Returns:
        As `first_step`.
    """
    state = {name: x for name, x in tensors.items() if name not in _OF_STEP}
    for name in ("sources", "beams"):
        if name in tensors:
            state = select(state, tensors[name], sentences=name == "sources")
    ids, history = tensors["ids"], state.pop("history", None)
    logits, state = decoding.next(ids, state)
    if history is not None:
        state["history"] = tf.concat((history, ids[:, None]), axis=1)
    return state | _found(logits, state.get("history"), tensors, rules, wanted)


def history_of(given: Tensors) -> tf.Tensor:
    """The prompts, int64, shape (rows, prompt), padded on the left with `NO_TOKEN`."""
    prompt = moved_left({name: given[name] for name in ("input_ids", "tokens")})
    ids = tf.cast(prompt["input_ids"], tf.int64)
    return tf.where(prompt["tokens"], ids, tf.cast(NO_TOKEN, tf.int64))


def _found(
    logits: tf.Tensor,
    history: tf.Tensor | None,
    tensors: Tensors,
    rules: ScoreRules,
    wanted: Wanted,
) -> dict[str, tf.Tensor]:
    """What `Steps.first` returns."""
    scores = at_least_float32(logits)
    if wanted.candidates:
        scores = tf.nn.log_softmax(scores)
    scores = rules(scores, history, tensors["minimums"], tensors["generated"])
    found: dict[str, tf.Tensor] = {}
    if wanted.candidates:
        totals = scores + tf.cast(tensors["sums"], scores.dtype)[:, None]
        totals = tf.reshape(totals, (-1, wanted.beams * scores.shape[1]))
        found["sums"], found["indices"] = tf.math.top_k(totals, wanted.candidates)
    elif "numbers" in tensors:
        scores = sharpen(tf.cast(scores, tf.float64), rules)
        found["chosen"] = sample(scores, tensors["numbers"])
    else:
        found["chosen"] = best_tokens(scores)
    return found | ({"scores": scores} if wanted.scores else {})
