"""Linear layers, with what comes after them: an activation, a residual.

The layer is called as it is: so this serves adapters and other layers put in a linear layer's
place too. What makes it fast is that a product of matrices, its bias and its activation follow
each other directly, which TensorFlow's graph optimizer turns into one operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from xlm_tf.activations import gelu, relu
from xlm_tf.fast.rule import code_of
from xlm_tf.layers import Linear


def linear(
    layer: Any, x: tf.Tensor, activation: str = "none", residual: tf.Tensor | None = None
) -> tf.Tensor:
    """activation(layer(x)) + residual.

    Args:
        layer: A linear layer, or whatever was put in its place.
        x: float, shape (..., inputs).
        activation: "none", "gelu" (by its exact formula) or "relu".
        residual: float, shape (..., outputs).

    Returns:
        float, shape (..., outputs).
    """
    y = _ACTIVATIONS[activation](layer(x))
    return y if residual is None else residual + y


# The library's own layers; quantization adds its own.
OWN_LINEAR = code_of(Linear)


_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "none": lambda x: x,
    "gelu": gelu,
    "relu": relu,
}
