"""The token that a random number chooses."""

from __future__ import annotations

import tensorflow as tf


def sample(scores: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Choose by the inverse of the cumulative distribution, its tokens in order of their ids.

    Args:
        scores: float64, shape (rows, vocabulary): logits; -inf for what is ruled out.
        numbers: float64, shape (rows,): in [0, 1).

    Returns:
        int64, shape (rows,): the first token at which the sum of probabilities exceeds the number.
    """
    sums = tf.cumsum(tf.nn.softmax(scores), axis=-1)
    whole = sums[:, -1:]
    chosen = _count(sums <= numbers[:, None] * whole)
    # A number close to 1 may be rounded to the whole; the last token is that which reaches it.
    return tf.minimum(chosen, _count(sums < whole))


def _count(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(flags, tf.int64), axis=-1)
