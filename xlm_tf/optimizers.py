"""The original's Adam, and an `AdamW` that changes variables where they lie."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import BaseResourceVariable

from xlm_core.errors import ConfigError
from xlm_tf.fast import adam
from xlm_tf.fast.rule import are_traced, only_formulas

# Smaller variables are decayed through a copy: it is no more than this, and as fast.
SMALLEST_IN_PARTS = 2**20
# Bytes that are decayed at a time: what stays in a cache (measured: half the time of 256 kB).
PART = 2**17


def total_norm(gradients: Iterable[tf.Tensor]) -> tf.Tensor:
    """The norm of several tensors together, by one pass over each, without a copy of its squares.

    Args:
        gradients: float, dense, of any shapes.

    Returns:
        float64, shape ().
    """
    squares = []
    for x in gradients:
        wide = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        squares.append(2 * tf.cast(tf.nn.l2_loss(wide), tf.float64))
    return tf.sqrt(tf.add_n(squares))


def clipped(gradients: list[tf.Tensor], factor: tf.Tensor) -> list[tf.Tensor]:
    """Gradients times a factor; as they are, without a pass over them, if it is 1.

    Args:
        gradients: float, of any shapes.
        factor: float, shape ().
    """
    return tf.cond(
        tf.equal(factor, 1),
        lambda: [tf.identity(x) for x in gradients],
        lambda: [x * tf.cast(factor, x.dtype) for x in gradients],
    )


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


@keras.saving.register_keras_serializable(package="xlm_models")
class OriginalAdam(keras.optimizers.Optimizer):
    """Adam as the original trains with it.

    Keras' own formula, but in the dtype of each variable throughout, the learning rate included,
    and each variable counts its own updates: those for which it had a gradient. Weights decay by
    themselves, not through the gradient.

    Args:
        learning_rate: A number, or a schedule. One that is set later is in float32, as in Keras.
        beta_1, beta_2: Decay rates of the first and second moments.
        epsilon: Added to the root of the second moment.
        weight_decay: Rate at which weights decay, times the learning rate.
        options: Further ones of `keras.optimizers.Optimizer`.

    Raises:
        ConfigError: For values that cannot be.

    Source: Kingma & Ba 2015; Adam in xlm/optim.py of the original.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float | None = 0.0,
        name: str = "original_adam",
        **options: Any,
    ) -> None:
        weight_decay = weight_decay or 0.0  # None, as Keras' own take it
        given = isinstance(learning_rate, (int, float, str))  # else a schedule, or a variable
        rate: Any = learning_rate if given else 0.0
        betas = (beta_1, beta_2)
        try:
            fit = rate >= 0 and epsilon > 0 and weight_decay >= 0 and all(0 <= b < 1 for b in betas)
        except TypeError:  # no numbers
            fit = False
        if not fit:
            raise ConfigError(
                f"learning_rate is {learning_rate!r}, epsilon {epsilon!r}, weight_decay "
                f"{weight_decay!r} and betas {betas!r}: expected numbers from 0, epsilon above 0, "
                "and betas below 1."
            )
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, name=name, **options
        )
        # Keras' variable rounds it to float32.
        self._given_rate = learning_rate if isinstance(learning_rate, float) else None
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        # What gradients are multiplied by in the update that is being made; None: nothing.
        self._factor: tf.Tensor | None = None

    def apply_times(self, factor: tf.Tensor, gradients: list[Any], variables: list[Any]) -> None:
        """`apply` gradients that are multiplied by a factor, without a pass of its own over them.

        Args:
            factor: float, shape ().
            gradients, variables: As in `apply`.
        """
        # What clips or adds up gradients itself has to see them multiplied.
        looks = self.clipnorm or self.clipvalue or self.global_clipnorm
        if (
            looks
            or self.gradient_accumulation_steps
            or tf.distribute.has_strategy()
            or only_formulas()
        ):
            self.apply(clipped(gradients, factor), variables)
            return
        self._factor = factor
        try:
            self.apply(gradients, variables)
        finally:
            self._factor = None

    def build(self, variables: Iterable[Any]) -> None:
        """Make the moments and counts of these variables."""
        if self.built:
            return
        variables = list(variables)
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        self._counts = [
            self.add_variable((), dtype="int64", name=f"updates_{number}")
            for number in range(len(variables))
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable, its moments and its count.

        Args:
            gradient: Of the shape of the variable.
            variable: float, any shape.
            learning_rate: Scalar, which weights decay by too.
        """
        place = self._get_variable_index(variable)
        # In half types beta_2 would be 1 and epsilon 0: nothing would change, or become NaN.
        dtype = tf.float64 if variable.dtype == "float64" else tf.float32
        count, first, second = (
            each[place] for each in (self._counts, self._momentums, self._velocities)
        )
        self.assign_add(count, 1)
        step = tf.cast(count.value, dtype)
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        rate = self._rate(learning_rate, dtype)
        decay = float(self.weight_decay or 0) if self._use_weight_decay(variable) else 0.0
        gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)
        can_apply = _can_apply(variable, gradient)
        factor = None if self._factor is None else tf.cast(self._factor, dtype)
        if can_apply and adam.is_worth_compiling(variable):
            adam.update(
                variable,
                first.value,
                second.value,
                gradient,
                factor=tf.ones((), dtype) if factor is None else factor,
                rate=rate,
                decay=decay,
                betas=(beta_1, beta_2),
                epsilon=self.epsilon,
                step=step,
            )
            return
        if factor is not None:
            gradient = gradient * factor
        if decay:
            decayed = tf.cast(tf.convert_to_tensor(variable), dtype) * tf.constant(decay, dtype)
            self.assign_sub(variable, decayed * rate)
        if can_apply:
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.value.handle,
                v=second.value.handle,
                beta1_power=tf.pow(beta_1, step),
                beta2_power=tf.pow(beta_2, step),
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=tf.constant(self.epsilon, dtype),
                grad=gradient,
                use_locking=True,
            )
            return
        m, v = (tf.cast(tf.convert_to_tensor(x), dtype) for x in (first, second))
        m = m * beta_1 + gradient * (1 - beta_1)
        v = v * beta_2 + tf.square(gradient) * (1 - beta_2)
        self.assign(first, m)
        self.assign(second, v)
        scaled = rate * tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
        self.assign_sub(variable, scaled * m / (tf.sqrt(v) + self.epsilon))

    def take(self, variable: Any, updates: int, first: Any, second: Any) -> None:
        """Go on with what another run knew of a variable.

        Args:
            variable: One that the optimizer was built for.
            updates: Made of it.
            first, second: Its moments, of its shape.
        """
        place = self._get_variable_index(variable)
        self._counts[place].assign(updates)
        self._momentums[place].assign(first)
        self._velocities[place].assign(second)

    def _rate(self, learning_rate: Any, dtype: Any) -> tf.Tensor:
        """The learning rate in the variable's dtype: as it was given, unless set anew since."""
        found = tf.cast(learning_rate, dtype)
        if self._given_rate is None:
            return found
        rounded = tf.cast(tf.constant(self._given_rate, tf.float32), dtype)
        return tf.where(tf.equal(found, rounded), tf.constant(self._given_rate, dtype), found)

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        # By the norm of all, in fewer passes over them than Keras makes.
        # Keras takes numbers below 0 for none.
        largest_norm = self.global_clipnorm or 0.0
        if largest_norm <= 0 or self.clipnorm or only_formulas():
            found: list[Any] = super()._clip_gradients(grads)
            return found
        dense = [tf.convert_to_tensor(x) for x in grads if x is not None]
        if not dense:
            return grads
        # Keras' factor in the dtype of the gradients, so that float32 rounds alike.
        dtype = tf.float64 if any(x.dtype == tf.float64 for x in dense) else tf.float32
        norm = tf.cast(total_norm(dense), dtype)
        largest = tf.constant(largest_norm, dtype)
        # Of a norm that is not finite every gradient becomes NaN, as in Keras.
        factor = largest * (1 / norm) + (norm - norm)
        factor = tf.where(norm <= largest, tf.ones_like(norm), factor)
        if tf.distribute.has_strategy():
            dense = clipped(dense, factor)
        else:
            self._factor = factor  # `update_step` multiplies
        remaining = iter(dense)
        return [None if x is None else next(remaining) for x in grads]

    def _backend_update_step(self, *arguments: Any) -> None:
        try:
            super()._backend_update_step(*arguments)
        finally:
            self._factor = None

    def _apply_weight_decay(self, variables: Iterable[Any]) -> None:
        # In `update_step`, where the learning rate has the variable's dtype.
        pass

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        config = {**super().get_config(), **own}
        if self._given_rate is not None and config["learning_rate"] == float(
            np.float32(self._given_rate)
        ):
            config["learning_rate"] = self._given_rate
        return config


def _can_apply(variable: Any, gradient: tf.Tensor) -> bool:
    """Whether TensorFlow's own operation for Adam applies to a variable on a CPU."""
    return (
        isinstance(variable, BaseResourceVariable)
        and variable.dtype in (tf.float32, tf.float64)
        and "CPU" in variable.device
        and not tf.distribute.has_strategy()
        and not are_traced()
        and not only_formulas()
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
