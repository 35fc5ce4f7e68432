"""Losses: scalars, in float32 for half-precision models and in the model's dtype otherwise."""

from __future__ import annotations

import tensorflow as tf

IGNORED = -100


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """`x` in float32 if it is of a half type, otherwise unchanged."""
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x


def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, ignored: int | tf.Tensor = IGNORED
) -> tf.Tensor:
    """Mean cross-entropy over the labels that are not `ignored`; 0 where all are.

    Args:
        logits: float, shape (..., classes).
        labels: integer, shape (...).
        ignored: The label that does not count.
    """
    return mean_of_counted(*cross_entropies(_rows(logits), tf.reshape(labels, (-1,)), ignored))


def negative_log_likelihood(
    log_probs: tf.Tensor, labels: tf.Tensor, ignored: int | tf.Tensor = IGNORED
) -> tf.Tensor:
    """`cross_entropy` for what already are log-probabilities."""
    found = negative_log_likelihoods(_rows(log_probs), tf.reshape(labels, (-1,)), ignored)
    return mean_of_counted(*found)


def mean_squared_error(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean of the squared differences, 0 of none; both float, of one shape."""
    predictions = at_least_float32(predictions)
    return _mean(tf.square(predictions - tf.cast(targets, predictions.dtype)))


def binary_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean binary cross-entropy of independent yes/no logits, 0 of none; both of one shape."""
    logits = at_least_float32(logits)
    targets = tf.cast(targets, logits.dtype)
    return _mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))


def _mean(losses: tf.Tensor) -> tf.Tensor:
    # Under a strategy, a device has no row where the last batch has fewer than there are devices.
    return tf.where(tf.size(losses) > 0, tf.reduce_mean(losses), tf.zeros((), losses.dtype))


# -- label by label, for weights -------------------------------------------------------------------


def cross_entropies(
    logits: tf.Tensor, labels: tf.Tensor, ignored: int | tf.Tensor = IGNORED
) -> tuple[tf.Tensor, tf.Tensor]:
    """The cross-entropy of each label, and which labels count.

    Args:
        logits: float, shape (..., classes).
        labels: integer, shape (...).
        ignored: The label that does not count.

    Returns:
        float, at least float32, and bool, both of the labels' shape.
    """
    labels, counted = _classes_and_counted(labels, ignored)
    logits = at_least_float32(logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), counted


def negative_log_likelihoods(
    log_probs: tf.Tensor, labels: tf.Tensor, ignored: int | tf.Tensor = IGNORED
) -> tuple[tf.Tensor, tf.Tensor]:
    """`cross_entropies` for what already are log-probabilities."""
    labels, counted = _classes_and_counted(labels, ignored)
    log_probs = at_least_float32(log_probs)
    return -tf.gather(log_probs, labels, batch_dims=labels.shape.rank), counted


def mean_of_counted(losses: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """The sum of the losses that count over their number; 0 where none does."""
    total = tf.reduce_sum(tf.where(counted, losses, 0))
    return total / tf.maximum(tf.reduce_sum(tf.cast(counted, losses.dtype)), 1)


def _rows(scores: tf.Tensor) -> tf.Tensor:
    return tf.reshape(scores, (-1, tf.shape(scores)[-1]))


def _classes_and_counted(
    labels: tf.Tensor, ignored: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The labels, 0 where ignored, and which of them count."""
    labels = tf.cast(labels, tf.int64)
    counted = labels != tf.cast(ignored, tf.int64)
    return tf.where(counted, labels, 0), counted
