"""The loops of generation: all in one graph, or step by step with the bookkeeping of core.

Shapes: rows (sequences that are generated), prompt, width (prompt and what is generated).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from xlm_tf.fast.rule import are_traced
from xlm_tf.generation.choosing import Choice, chosen, scored
from xlm_tf.generation.decoding import Decoding, State, room_for, selected, with_room
from xlm_tf.layers import shape_of

Variables = dict[str, Any]


def loop_in_graph(
    decoding: Decoding,
    given: Mapping[str, tf.Tensor],
    *,
    choice: Choice,
    copies: int,
    steps: int | tf.Tensor,
    limits: tf.Tensor,
    minimums: tf.Tensor,
    uniform: tf.Tensor | None,
) -> tf.Tensor:
    """Greedy search or sampling as one `tf.while_loop`.

    Rows that have ended stay in the batch, masked.

    Args:
        decoding: What gives the logits.
        given: As in `CachedDecoding.first`.
        choice: By which settings tokens are chosen.
        copies: Sequences for each row of `given`.
        steps: Tokens that the longest row may get; a number where shapes must be known.
        limits, minimums: integer, shape (rows,): tokens that each row gets at most, and before it
            may end.
        uniform: float64, shape (rows, steps): what samples are drawn by.

    Returns:
        The prompts and what was generated, int64, shape (rows, width), padded; where shapes must
        not depend on values, as wide as may be.
    """
    prompt = shape_of(given["input_ids"])[1]
    width = prompt + steps
    static = are_traced()
    room = width if static else tf.minimum(room_for(prompt + 1), width)
    logits, state = decoding.first(given, room)
    sequences, counted = tf.cast(given["input_ids"], tf.int64), given["tokens"]
    if copies > 1:
        rows = tf.repeat(tf.range(shape_of(sequences)[0]), copies)
        state = selected(state, rows)
        logits, sequences, counted = (tf.gather(x, rows) for x in (logits, sequences, counted))
    sequences = tf.where(
        tf.range(width) < prompt, with_room(sequences, width), tf.cast(choice.pad, tf.int64)
    )
    variables: Variables = {
        "step": tf.constant(0),
        "length": tf.convert_to_tensor(prompt, tf.int32),
        "sequences": sequences,
        "counted": with_room(counted, width),
        "finished": tf.zeros(tf.shape(sequences)[:1], tf.bool),
        "state": state,
    }

    def append(logits: tf.Tensor, now: Variables) -> Variables:
        """Choose a token for each row."""
        step, length, finished = now["step"], now["length"], now["finished"]
        scores = scored(
            logits, now["sequences"], now["counted"], length, step, minimums, choice
        )
        ids = chosen(scores, None if uniform is None else tf.gather(uniform, step, axis=1))
        ids = tf.where(finished, tf.cast(choice.pad, tf.int64), ids)
        ended = tf.zeros_like(finished)
        for token in choice.eos:
            ended |= ids == token
        at_limit = tf.cast(limits, tf.int32) <= step + 1
        if choice.closing is not None:
            closed = at_limit & ~ended & ~finished
            ids = tf.where(closed, tf.cast(choice.closing, tf.int64), ids)
        here = tf.range(shape_of(now["sequences"])[1]) == length
        return now | {
            "step": step + 1,
            "length": length + 1,
            "sequences": tf.where(here, ids[:, None], now["sequences"]),
            "counted": now["counted"] | (here & ~finished[:, None]),
            "finished": finished | ended | at_limit,
            "ids": ids,
        }

    def body(now: Variables) -> tuple[Variables]:
        logits, state = decoding.next(now["ids"], now["state"])
        return (append(logits, now | {"state": state}),)

    def goes_on(now: Variables) -> tf.Tensor:
        return ~tf.reduce_all(now["finished"])

    variables = append(logits, variables)
    if static:
        (variables,) = tf.while_loop(goes_on, body, (variables,))
        return variables["sequences"]

    def has_room(now: Variables) -> tf.Tensor:
        return goes_on(now) & (now["state"]["length"] < shape_of(now["state"]["tokens"])[1])

    def fill(now: Variables) -> tuple[Variables]:
        """Room is made in blocks: attention costs by the positions that there is room for."""
        more = tf.minimum(room_for(now["state"]["length"] + 1), width)
        now = now | {"state": decoding.grow(now["state"], more)}
        (now,) = tf.while_loop(has_room, body, (now,), (_any_sizes(now),))
        return (now,)

    (variables,) = tf.while_loop(goes_on, fill, (variables,), (_any_sizes(variables),))
    return variables["sequences"][:, : variables["length"]]


def _any_sizes(variables: Variables) -> Variables:
    """Shapes of which the sizes may change from one round of a loop to the next."""
    return tf.nest.map_structure(lambda x: tf.TensorShape([None] * x.shape.rank), variables)
