"""Drawing the next token from its probabilities."""

from __future__ import annotations

import tensorflow as tf


def sample(scores: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Draw a token for each row: the inverse of the cumulative distribution, in order of ids.

    Args:
        scores: float64, whatever the model's dtype, so that both frameworks draw the same, shape (rows, vocabulary): logits; minus infinity where a token is ruled out.
        uniform: float64, shape (rows,): in [0, 1).

    Returns:
        int64, shape (rows,): the first token whose cumulative probability exceeds the number.
    """
    cumulative = tf.cumsum(tf.nn.softmax(scores), axis=-1)
    below = cumulative <= (uniform * cumulative[:, -1])[:, None]
    return tf.reduce_sum(tf.cast(below, tf.int64), axis=-1)
