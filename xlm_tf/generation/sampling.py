"""The token that is chosen: the best one, or by a random number."""

from __future__ import annotations

import tensorflow as tf

from xlm_core.generation import NO_CHOICE


def best_tokens(scores: tf.Tensor) -> tf.Tensor:
    """The best token of each row; of equal ones, the first.

    Args:
        scores: float, shape (rows, vocabulary); -inf for what is ruled out.

    Returns:
        int64, shape (rows,): `NO_CHOICE` where a score is NaN, or all are ruled out.
    """
    chosen = tf.argmax(scores, axis=-1)
    found = tf.gather(scores, chosen, batch_dims=1)
    is_one = (found > -float("inf")) & ~tf.math.is_nan(tf.reduce_sum(scores, axis=-1))
    return tf.where(is_one, chosen, tf.cast(NO_CHOICE, tf.int64))


def sample(scores: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Choose by the inverse of the cumulative distribution, its tokens in order of their ids.

    Args:
        scores: float64, shape (rows, vocabulary): logits; -inf for what is ruled out.
        numbers: float64, shape (rows,): in [0, 1).

    Returns:
        int64, shape (rows,): the first token at which the sum of probabilities exceeds the number;
        `NO_CHOICE` as in `best_tokens`.
    """
    sums = tf.cumsum(tf.nn.softmax(scores), axis=-1)
    whole = sums[:, -1:]
    chosen = _count(sums <= numbers[:, None] * whole)
    # A number close to 1 may be rounded to the whole; the last token is that which reaches it.
    chosen = tf.minimum(chosen, _count(sums < whole))
    return tf.where(tf.math.is_nan(whole[:, 0]), tf.cast(NO_CHOICE, tf.int64), chosen)


def _count(flags: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(flags, tf.int64), axis=-1)
