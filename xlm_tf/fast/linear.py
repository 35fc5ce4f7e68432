"""Linear layers, with what comes after them: an activation, a residual.

The layer is called as it is: so this serves adapters and other layers put in a linear layer's
place too. What makes it fast is that a product of matrices, its bias and its activation follow
each other directly, which TensorFlow's graph optimizer turns into one operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from xlm_tf.activations import gelu, relu
from xlm_tf.fast.integers import integer_feed_forward, integer_linears
from xlm_tf.fast.rule import are_unmodified, code_of
from xlm_tf.layers import Linear


def linear(
    layer: Any,
    x: tf.Tensor,
    activation: str = "none",
    residual: tf.Tensor | None = None,
    *,
    trained: bool = False,
) -> tf.Tensor:
    """activation(layer(x)) + residual.

    Args:
        layer: A linear layer, or whatever was put in its place.
        x: float, shape (..., inputs).
        activation: "none", "gelu" (by its exact formula) or "relu".
        residual: float, shape (..., outputs).
        trained: A gradient is wanted; without, product and activation become one operation.

    Returns:
        float, shape (..., outputs).
    """
    y = layer(x)
    y = _trained_gelu(y) if trained and activation == "gelu" else _ACTIVATIONS[activation](y)
    return y if residual is None else residual + y


def linears(layers: Sequence[Any], x: tf.Tensor) -> list[tf.Tensor]:
    """Linear layers of one input, which is rounded once for all where they are int8.

    Args:
        layers: Of the same number of inputs.
        x: float, shape (rows, inputs).

    Returns:
        float, shape (rows, outputs), each.
    """
    if _are_rounding(layers, x):
        found = integer_linears(layers, x)
        if found is not None:
            return found
    return [linear(layer, x) for layer in layers]


def feed_forward(first: Any, second: Any, x: tf.Tensor, activation: str) -> tf.Tensor | None:
    """second(activation(first(x))) where both are int8 and are faster together; else None.

    Args:
        first, second: Linear layers, or whatever was put in their places.
        x: float, shape (rows, inputs).
        activation: As in `linear`.

    Returns:
        float, shape (rows, outputs).
    """
    if not _are_rounding((first, second), x):
        return None
    return integer_feed_forward(first, second, x, _ACTIVATIONS[activation])


def _are_rounding(layers: Sequence[Any], x: tf.Tensor) -> bool:
    """Whether each is an unmodified `QuantizedLinear` that rounds its input, of its own dtype."""
    return all(
        getattr(layer, "activations", False) and layer.compute_dtype == x.dtype.name
        for layer in layers
    ) and are_unmodified(layers, OWN_LINEAR)


@tf.custom_gradient
def _trained_gelu(x: tf.Tensor) -> Any:
    """`gelu`, which keeps what its gradient needs and computes it in fewer passes."""
    below = tf.math.erf(x * math.sqrt(0.5)) * 0.5 + 0.5

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        density = tf.exp(tf.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
        return upstream * (below + x * density)

    return x * below, gradient


# The library's own layers; quantization adds its own.
OWN_LINEAR = code_of(Linear)


_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "none": lambda x: x,
    "gelu": gelu,
    "relu": relu,
}
