"""`AdamW` that changes variables where they lie."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

from xlm_tf.fast.rule import are_traced, only_formulas

# Smaller variables are decayed through a copy: it is no more than this, and as fast.
SMALLEST_IN_PARTS = 2**20
# Bytes that are decayed at a time: what stays in a cache (measured: half the time of 256 kB).
PART = 2**17


@keras.saving.register_keras_serializable(package="xlm_models")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` in place: the same arguments, state and results, up to rounding.

    Keras' own makes several copies of a variable while it changes it, which for the embeddings of
    a large vocabulary is more memory than all the rest of a step. Here the moments and the
    variable are changed by one operation, and weights decay in parts that stay in a cache.

    It does what Keras' does by Keras' own code wherever the operation does not apply: for sparse
    gradients, amsgrad, variables of other dtypes than float32 and float64 or not on a CPU, under
    XLA and distribution strategies, and inside `formulas_only`.

    In float32, the operation takes 1 - beta_2 after rounding beta_2, as the bias correction of
    both does; Keras before. That changes the second moments by 1.3e-5 of their size.

    Args:
        Those of `keras.optimizers.AdamW`.

    Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization".
    """

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        """Change one variable and its moments.

        Args:
            gradient: Of the shape of the variable; may be sparse.
            variable: float, any shape.
            learning_rate: Scalar, which weights decay by too.
        """
        if not self._is_in_place(variable, gradient):
            if not tf.distribute.has_strategy():
                super()._apply_weight_decay([variable])
            super().update_step(gradient, variable, learning_rate)
            return
        place = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        # Not while a graph still needs the values that it has read: they would be copied.
        with tf.control_dependencies([gradient]):
            if not _is_large(variable):
                super()._apply_weight_decay([variable])
            elif self._use_weight_decay(variable):
                decay = (tf.cast(x, dtype) for x in (self.weight_decay, self.learning_rate))
                _in_parts(dtype)(variable.handle, _rows_of_a_part(variable), *decay)
        # Betas as Keras rounds them: by way of float32 for the powers, else not.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, dtype), step),
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.constant(self.beta_1, dtype),
            beta2=tf.constant(self.beta_2, dtype),
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
            use_locking=True,
        )

    def _apply_weight_decay(self, variables: Iterable[Any]) -> None:
        # Else in `update_step`, one variable after the other.
        if tf.distribute.has_strategy():
            super()._apply_weight_decay(variables)

    def _is_in_place(self, variable: Any, gradient: Any) -> bool:
        """Whether the operations apply to a variable of TensorFlow, and to its gradient."""
        return (
            not only_formulas()
            and not self.amsgrad
            and all(isinstance(x, float) for x in (self.beta_1, self.beta_2, self.epsilon))
            and isinstance(variable, BaseResourceVariable)
            and variable.dtype in (tf.float32, tf.float64)
            and "CPU" in variable.device
            and not tf.distribute.has_strategy()
            and not are_traced()
            and _is_dense(gradient, variable)
        )


def _is_dense(gradient: Any, variable: tf.Variable) -> bool:
    dense = not isinstance(gradient, tf.IndexedSlices) and tf.is_tensor(gradient)
    return dense and gradient.shape.is_fully_defined() and gradient.shape == variable.shape


def _is_large(variable: Any) -> bool:
    shape = variable.shape
    return shape.rank > 1 and shape.num_elements() * variable.dtype.size >= SMALLEST_IN_PARTS


def _rows_of_a_part(variable: tf.Variable) -> int:
    row = variable.shape[1:].num_elements() * variable.dtype.size
    return max(PART // row, 1)


@functools.cache
def _in_parts(dtype: tf.DType) -> Callable[..., None]:
    """The function that decays a variable of `dtype` by so many rows at a time.

    Its arguments: the variable's handle, the rows, the weight decay and the learning rate.
    """

    def decay(
        handle: tf.Tensor, rows: tf.Tensor, rate: tf.Tensor, learning_rate: tf.Tensor
    ) -> None:
        size = tf.raw_ops.VariableShape(input=handle)[0]

        def part(first: tf.Tensor) -> tf.Tensor:
            places = tf.range(first, tf.minimum(first + rows, size))
            values = tf.raw_ops.ResourceGather(resource=handle, indices=places, dtype=dtype)
            values = values - values * rate * learning_rate
            written = tf.raw_ops.ResourceScatterUpdate(
                resource=handle, indices=places, updates=values
            )
            with tf.control_dependencies([written]):
                return first + rows

        end = tf.while_loop(lambda first: first < size, part, (0,), parallel_iterations=1)
        # Since it was written in parts, reading it would copy it, each time and for good.
        with tf.control_dependencies([end]):
            tf.raw_ops.DisableCopyOnRead(resource=handle)

    kinds = [tf.resource, tf.int32, dtype, dtype]
    signature = [tf.TensorSpec((), kind) for kind in kinds]
    return tf.function(decay, input_signature=signature, autograph=False)
