"""An update of Adam as one pass over a variable, its moments and its gradient, compiled by XLA.

Clipping, the decay of weights and Adam's own operation each read and write all of a variable or of
its gradient; together they take as long as the last one alone (measured).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Smaller variables are not worth XLA's time to compile: a third of a second for each shape.
SMALLEST_COMPILED = 2**18


def is_worth_compiling(variable: Any) -> bool:
    """Whether `update` is faster for a variable on a CPU, and this TensorFlow has XLA."""
    return variable.shape.num_elements() >= SMALLEST_COMPILED and bool(tf.test.is_built_with_xla())


def update(
    variable: tf.Variable,
    first: tf.Variable,
    second: tf.Variable,
    gradient: tf.Tensor,
    *,
    factor: tf.Tensor,
    rate: tf.Tensor,
    decay: float,
    betas: tuple[tf.Tensor, tf.Tensor],
    epsilon: float,
    step: tf.Tensor,
) -> None:
    """Let a variable decay, and change it and its moments as `OriginalAdam` does.

    Args:
        variable, first, second: The variable and its moments, float, of one shape and dtype.
        gradient: float, of that shape and dtype.
        factor: What the gradient is multiplied by.
        rate: The learning rate.
        decay: Rate of decay, times the learning rate.
        betas: Decay rates of the moments.
        epsilon: Added to the root of the second moment.
        step: How many updates the variable has had, this one counted.

    All tensors but `gradient` are scalars of the variable's dtype.
    """
    dtype = variable.dtype
    beta_1, beta_2 = betas
    scaled = rate * tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
    scalars = (factor, rate, tf.constant(decay, dtype), beta_1, beta_2, scaled)
    handles = (variable.handle, first.handle, second.handle)
    _compiled(dtype, decay != 0)(*handles, gradient, *scalars, tf.constant(epsilon, dtype))


@functools.cache
def _compiled(dtype: tf.DType, decays: bool) -> Callable[..., None]:
    """The function that changes a variable of `dtype`, for all shapes."""

    def change(
        variable: tf.Tensor,
        first: tf.Tensor,
        second: tf.Tensor,
        gradient: tf.Tensor,
        factor: tf.Tensor,
        rate: tf.Tensor,
        decay: tf.Tensor,
        beta_1: tf.Tensor,
        beta_2: tf.Tensor,
        scaled: tf.Tensor,
        epsilon: tf.Tensor,
    ) -> None:
        value, m, v = (
            tf.raw_ops.ReadVariableOp(resource=x, dtype=dtype) for x in (variable, first, second)
        )
        gradient = gradient * factor
        if decays:
            value = value - value * decay * rate
        m = m * beta_1 + gradient * (1 - beta_1)
        v = v * beta_2 + tf.square(gradient) * (1 - beta_2)
        value = value - scaled * m / (tf.sqrt(v) + epsilon)
        for resource, new in ((variable, value), (first, m), (second, v)):
            tf.raw_ops.AssignVariableOp(resource=resource, value=new)

    signature = [
        *[tf.TensorSpec((), tf.resource)] * 3,
        tf.TensorSpec(None, dtype),
        *[tf.TensorSpec((), dtype)] * 7,
    ]
    return tf.function(change, input_signature=signature, autograph=False, jit_compile=True)
