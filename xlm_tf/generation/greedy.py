"""Greedy search and sampling: each row of the batch is a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from xlm_core.generation import NO_CHOICE, Settled, uniform_numbers
from xlm_tf.fast.rule import are_traced
from xlm_tf.generation.callables import Callables
from xlm_tf.generation.decoding import Decoding, Tensors, room_for, select
from xlm_tf.generation.logits import NO_TOKEN, ScoreRules, sharpen
from xlm_tf.generation.sampling import best_tokens, sample
from xlm_tf.generation.steps import Steps, history_of
from xlm_tf.layers import shape_of
from xlm_tf.losses import at_least_float32


def generate_rows(
    decoding: Steps, settled: Settled, prompt: NDArray[np.int64], callables: Callables
) -> tuple[NDArray[np.int64], tuple[NDArray[Any], ...] | None]:
    """Take the best token of each row, or draw one, until every row is finished.

    Args:
        decoding: Gives the tokens, step by step.
        settled: What to do.
        prompt: int64, shape (sentences, tokens): what callables see before what is generated.
        callables: What looks on.

    Returns:
        What rows got, padded after their end, int64, shape (rows, tokens), and with output_scores
        the scores of each step, float, shape (rows, vocabulary).
    """
    progress = settled.progress(drops_finished=not (settled.output_scores or callables.look_on))
    prompt = settled.rows(prompt)
    numbers = random_numbers(settled)
    callables.put(prompt)
    scores: tuple[NDArray[Any], ...] | None = () if settled.output_scores else None
    found = decoding.first(numbers=None if numbers is None else numbers[:, 0])
    for step in range(1, int(settled.limits.max()) + 1):
        if scores is not None:
            scores = (*scores, found["scores"])
        ids, going_on = progress.step(found["chosen"])
        if callables.look_on:
            prompt = np.concatenate((prompt, ids[:, None]), axis=1)
            callables.put(ids)
            progress.stop(callables.stop(prompt, scores), ids)
        if progress.done:
            break
        row_numbers = None if numbers is None else numbers[progress.rows, step]
        found = decoding.next(ids, going_on, progress.rows, numbers=row_numbers)
    callables.end()
    return progress.generated(), scores


def random_numbers(settled: Settled) -> NDArray[np.float64] | None:
    """What samples are drawn by, float64, shape (rows, steps); None where nothing is drawn."""
    if settled.seed is None:
        return None
    limits = settled.rows(settled.limits)
    return uniform_numbers(settled.seed, len(limits), int(limits.max()))


def generate_rows_in_graph(
    decoding: Decoding,
    given: Tensors,
    *,
    rules: ScoreRules,
    copies: int,
    pad: int,
    closing: int | None,
    steps: int | tf.Tensor,
) -> tf.Tensor:
    """`generate_rows` as one `tf.while_loop`, in which rows that are finished stay, masked.

    Args:
        decoding: Gives the logits.
        given: What `CachedDecoding.first` takes; limits and minimums, integer, shape (rows,): how
            many tokens each row gets at most, and before it may end; numbers, float64, shape
            (rows, steps): what samples are drawn by, if they are.
        rules: What is asked of the scores.
        copies: Rows of each sentence.
        pad, closing: As in `Settled`.
        steps: The largest limit; a number where shapes must be known.

    Returns:
        What rows got, int64, shape (rows, tokens), padded after their end: as many tokens as the
        longest got, or where shapes must be known as it might have got. A row ends with
        `NO_CHOICE` where its scores are NaN, or rule out every token.
    """
    static = are_traced()
    prompt = shape_of(given["input_ids"])[1]
    width = prompt + steps
    logits, state = decoding.first(
        given, width if static else tf.minimum(room_for(prompt + 1), width)
    )
    history = history_of(given) if rules.look_back else tf.zeros((shape_of(logits)[0], 0), tf.int64)
    if copies > 1:
        rows = tf.repeat(tf.range(shape_of(logits)[0]), copies)
        state = select(state, rows)
        logits, history = tf.gather(logits, rows), tf.gather(history, rows)
    limits = tf.cast(given["limits"], tf.int32)
    if rules.look_back:  # room for what comes
        history = tf.pad(history, ((0, 0), (steps, 0)), constant_values=NO_TOKEN)

    def append(logits: tf.Tensor, now: dict[str, Any]) -> dict[str, Any]:
        """Choose a token for each row."""
        step, finished, history = now["step"], now["finished"], now["history"]
        scores = rules(at_least_float32(logits), history, given["minimums"], step)
        if "numbers" in given:
            scores = sharpen(tf.cast(scores, tf.float64), rules)
            ids = sample(scores, tf.gather(given["numbers"], step, axis=1))
        else:
            ids = best_tokens(scores)
        ids = tf.where(finished, tf.cast(pad, tf.int64), ids)
        ended = tf.zeros_like(finished)
        for token in rules.eos:
            ended |= ids == token
        is_lost = ids == NO_CHOICE
        ended |= is_lost
        at_limit = limits <= step + 1
        if closing is not None:
            ids = tf.where(at_limit & ~ended & ~finished, tf.cast(closing, tf.int64), ids)
        if rules.look_back:
            history = tf.concat((history[:, 1:], ids[:, None]), axis=1)
        here = tf.range(shape_of(now["generated"])[1]) == step
        return now | {
            "step": step + 1,
            "ids": tf.where(is_lost, tf.cast(pad, tf.int64), ids),
            "generated": tf.where(here, ids[:, None], now["generated"]),
            "history": history,
            "finished": finished | ended | at_limit,
        }

    rows_first = shape_of(logits)[0]
    now = append(
        logits,
        {
            "step": tf.constant(0),
            "generated": tf.fill((rows_first, steps), tf.cast(pad, tf.int64)),
            "history": history,
            "finished": limits < 1,
            "state": state,
        },
    )

    def body(now: dict[str, Any]) -> tuple[dict[str, Any]]:
        logits, state = decoding.next(now["ids"], now["state"])
        return (append(logits, now | {"state": state}),)

    def goes_on(now: dict[str, Any]) -> tf.Tensor:
        return ~tf.reduce_all(now["finished"])

    if static:
        (now,) = tf.while_loop(goes_on, body, (now,))
        return now["generated"]

    def fill(now: dict[str, Any]) -> tuple[dict[str, Any]]:
        """Make room, and run on while there is some: attention costs by the room that there is."""
        room = tf.minimum(room_for(now["state"]["length"] + 1), width)

        def has_room(now: dict[str, Any]) -> tf.Tensor:
            return goes_on(now) & (now["state"]["length"] < room)

        now = now | {"state": decoding.grow(now["state"], room)}
        (now,) = tf.while_loop(has_room, body, (now,), (_of_any_size(now),))
        return (now,)

    (now,) = tf.while_loop(goes_on, fill, (now,), (_of_any_size(now),))
    return now["generated"][:, : now["step"]]


def _of_any_size(variables: dict[str, Any]) -> dict[str, Any]:
    """Shapes of which sizes may change from one round of a loop to the next."""
    shapes: dict[str, Any] = tf.nest.map_structure(
        lambda x: tf.TensorShape([None] * x.shape.rank), variables
    )
    return shapes
