"""Layer normalisation with a gradient in fewer passes over the rows than the formula's."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xlm_tf.fast.rule import are_unmodified, code_of
from xlm_tf.layers import LayerNorm

_NORM = code_of(LayerNorm)


def normalise(layer: Any, x: tf.Tensor, *, trained: bool) -> tf.Tensor:
    """layer(x).

    Args:
        layer: A `LayerNorm`, or whatever was put in its place.
        x: float, shape (rows, width).
        trained: A gradient is wanted.

    Returns:
        As x.
    """
    if not (
        trained
        and x.dtype in (tf.float32, tf.float64)
        and are_unmodified((layer,), _NORM)
        and layer.compute_dtype == x.dtype.name
    ):
        return layer(x)
    gamma, beta = (tf.cast(v, x.dtype) for v in (layer.gamma, layer.beta))
    return _normalised(x, gamma, beta, tf.constant(layer.eps, x.dtype))


@tf.custom_gradient
def _normalised(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, eps: tf.Tensor) -> Any:
    """The formula of `LayerNorm`.

    By itself, TensorFlow's gradient of the division alone takes as many passes as all of this.
    """
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    deviation = tf.sqrt(variance + eps)
    normalised = centred / deviation

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, None]:
        product, share = upstream * normalised, gamma[:, None] / gamma.shape[0]
        # Means over a row of what flows to its normalised values, and of that times these.
        mean, along = tf.matmul(upstream, share), tf.matmul(product, share)
        of_x = (upstream * gamma - mean - normalised * along) / deviation
        return of_x, tf.reduce_sum(product, axis=0), tf.reduce_sum(upstream, axis=0), None

    return normalised * gamma + beta, gradient
