"""Activation functions by the names that configurations use."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU by its exact formula, x (1 + erf(x / sqrt 2)) / 2.

    Written out: tf.nn.gelu rounds its constants to float32, 5e-9 off in float64.

    Source: gelu in the original's xlm/model/transformer.py.
    """
    return 0.5 * x * (1 + tf.math.erf(x * math.sqrt(0.5)))


def gelu_tanh(x: tf.Tensor) -> tf.Tensor:
    """GELU by its tanh approximation."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1 + tf.tanh(inner))


def gelu_fast(x: tf.Tensor) -> tf.Tensor:
    """The tanh approximation with sqrt(2 / pi) cut to ten digits, as published under this name."""
    return 0.5 * x * (1 + tf.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


def laplace(x: tf.Tensor) -> tf.Tensor:
    """The Laplace activation, (1 + erf((x - mu) / (sigma sqrt 2))) / 2, with fixed constants."""
    return 0.5 * (1 + tf.math.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


def relu(x: tf.Tensor) -> tf.Tensor:
    """max(x, 0)."""
    return tf.nn.relu(x)


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """x where positive, else 0.01 x; tf.nn.leaky_relu holds its factor in float32."""
    return tf.where(x > 0, x, 0.01 * x)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu": gelu,
    "gelu_10": lambda x: tf.clip_by_value(gelu(x), -10, 10),
    "gelu_accurate": gelu_tanh,
    "gelu_fast": gelu_fast,
    "gelu_new": gelu_tanh,
    "gelu_python": gelu,
    "gelu_python_tanh": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "hardswish": lambda x: x * tf.nn.relu6(x + 3) / 6,
    "laplace": laplace,
    "leaky_relu": leaky_relu,
    "linear": lambda x: x,
    "mish": lambda x: x * tf.tanh(tf.math.softplus(x)),
    "quick_gelu": lambda x: x * tf.sigmoid(1.702 * x),
    "relu": relu,
    "relu2": lambda x: tf.nn.relu(x) ** 2,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.sigmoid,
    "silu": lambda x: x * tf.sigmoid(x),
    "swish": lambda x: x * tf.sigmoid(x),
    "tanh": tf.tanh,
}
