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
    logits = at_least_float32(logits)
    logits = tf.reshape(logits, (-1, tf.shape(logits)[-1]))
    labels, counted = _flat_labels(labels, ignored)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return _mean(losses, counted)


def negative_log_likelihood(
    log_probs: tf.Tensor, labels: tf.Tensor, ignored: int | tf.Tensor = IGNORED
) -> tf.Tensor:
    """`cross_entropy` for what already are log-probabilities."""
    log_probs = at_least_float32(log_probs)
    log_probs = tf.reshape(log_probs, (-1, tf.shape(log_probs)[-1]))
    labels, counted = _flat_labels(labels, ignored)
    return _mean(-tf.gather(log_probs, labels, batch_dims=1), counted)


def mean_squared_error(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean of the squared differences; both float, of one shape."""
    predictions = at_least_float32(predictions)
    return tf.reduce_mean(tf.square(predictions - tf.cast(targets, predictions.dtype)))


def binary_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean binary cross-entropy of independent yes/no logits; both of one shape."""
    logits = at_least_float32(logits)
    targets = tf.cast(targets, logits.dtype)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, logits))


def _flat_labels(labels: tf.Tensor, ignored: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The labels as one row, 0 where ignored, and which of them count."""
    labels = tf.cast(tf.reshape(labels, (-1,)), tf.int64)
    counted = labels != tf.cast(ignored, tf.int64)
    return tf.where(counted, labels, 0), counted


def _mean(losses: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    total = tf.reduce_sum(tf.where(counted, losses, 0))
    return total / tf.maximum(tf.reduce_sum(tf.cast(counted, losses.dtype)), 1)
