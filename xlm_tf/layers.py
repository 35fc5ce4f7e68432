"""The layers that hold variables, and dropout.

Keras' own layers of these names compute the same functions, but a checkpoint's tensors must be
found by name, replaced by others of another shape (pruning, resizing), and normalised by the
formula that PyTorch uses, digit for digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

import keras
import tensorflow as tf


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None, site: int) -> tf.Tensor:
    """Zero entries of `x` at `rate` and scale the rest; unchanged without a seed.

    Args:
        x: float, any shape.
        rate: In [0, 1); rounded to a 65,536th, unless that is 0 or 1.
        seed: int64, shape (2,), drawn once per layer and call; None outside training.
        site: Tells the dropouts that share a seed apart.
    """
    if seed is None or rate == 0:
        return x
    if not 0 < round(rate * VALUES) < VALUES:
        return tf.nn.experimental.stateless_dropout(x, rate, seed + site)
    return x * _dropout_factors(x, rate, seed + site)


# A draw decides about dropping an entry by so many values.
VALUES = 2**16


def _dropout_factors(like: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """What dropout multiplies by: 0 where an entry is dropped, else 1 / (1 - rate).

    Drawing is most of dropout's time: 64 bits serve four entries, half of what TensorFlow draws.
    """
    dropped, size = round(rate * VALUES), tf.size(like)
    drawn = tf.random.stateless_uniform(((size + 3) // 4,), seed, None, None, tf.int64)
    values = tf.reshape(tf.bitcast(drawn, tf.int16), (-1,))[:size]
    stays = tf.reshape(values, tf.shape(like)) >= dropped - VALUES // 2
    return tf.cast(stays, like.dtype) * (1 / (1 - rate))


def other_seed(seed: tf.Tensor | None) -> tf.Tensor | None:
    """A seed for a second attention in the same layer, whose sites are then others."""
    return None if seed is None else seed + 3


def softmax(scores: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis, computed in float32 for half types."""
    if scores.dtype in (tf.float16, tf.bfloat16):
        return tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), scores.dtype)
    return tf.nn.softmax(scores)


_FILLED: ContextVar[bool] = ContextVar("filled", default=True)


@contextmanager
def unfilled() -> Iterator[None]:
    """Variables made under it hold whatever was in memory: for values that come next.

    Zeros that are replaced at once would cost the time to write them, and the memory.
    """
    token = _FILLED.set(False)
    try:
        yield
    finally:
        _FILLED.reset(token)


def _empty(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)


class Checkpointed:
    """A layer of which `tf.train.Checkpoint` saves all.

    By itself, Keras 3 leaves out layers in lists and the state of dropout, in silence.
    """

    def _trackable_children(self, save_type: str = "checkpoint", **options: Any) -> dict[str, Any]:
        children: dict[str, Any] = super()._trackable_children(save_type, **options)
        if save_type == "checkpoint":
            for name, value in vars(self).items():
                if isinstance(value, keras.random.SeedGenerator):
                    children[f"{name}.state"] = value.state
                elif isinstance(value, list) and not name.startswith("_"):
                    layers = [x for x in value if isinstance(x, keras.layers.Layer)]
                    children |= {f"{name}.{place}": layer for place, layer in enumerate(layers)}
        return children


_GENERATIONS = count(1)


class ParameterLayer(keras.layers.Layer):
    """A layer whose variables can be replaced after it was built.

    Attributes:
        generation: Another number, in the whole process, each time a variable is made.
    """

    # Norms compute in float32 under mixed precision and so keep their variables as they are.
    autocasts = True
    generation = 0

    def create(
        self, name: str, shape: tuple[int, ...], *, trainable: bool = True, dtype: Any = None
    ) -> None:
        """Make (or make anew, in another shape) the variable `name`, of zeros; see `unfilled`."""
        self._tracker.unlock()
        old = getattr(self, name, None)
        if old is not None:
            # Keras keeps what is frozen among what is trained, so that it can be set free again.
            trainable = any(each is old for each in self._trainable_variables)
            self._untrack_variable(old)
        variable = self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer="zeros" if _FILLED.get() else _empty,
            trainable=trainable,
            autocast=self.autocasts,
        )
        setattr(self, name, variable)
        if old is not None:
            variable.trainable = old.trainable
        self.generation = next(_GENERATIONS)
        self._tracker.lock()


class Linear(ParameterLayer):
    """x kernel + bias.

    Attributes:
        kernel: float, shape (inputs, outputs): the transpose of PyTorch's weight.
        bias: float, shape (outputs,), or None.
    """

    def __init__(self, inputs: int, outputs: int, *, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self._first_shape, self._use_bias = (inputs, outputs), use_bias

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.bias: Any = None
        self.create("kernel", self._first_shape)
        if self._use_bias:
            self.create("bias", self._first_shape[1:])

    def keep(self, columns: list[int], axis: int) -> None:
        """Keep only these inputs (axis 0) or outputs (axis 1)."""
        kernel = self.kernel.numpy().take(columns, axis=axis)
        bias = None if self.bias is None else self.bias.numpy()
        if bias is not None and axis == 1:
            bias = bias.take(columns)
        # Both anew, in the order of `build`: files hold a layer's variables by their order.
        self.create("kernel", kernel.shape)
        self.kernel.assign(kernel)
        if bias is not None:
            self.create("bias", bias.shape)
            self.bias.assign(bias)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """float, shape (..., inputs), to float, shape (..., outputs)."""
        rows = x if x.shape.rank == 2 else tf.reshape(x, (-1, x.shape[-1]))
        rows = tf.matmul(rows, self.kernel)
        if self.bias is not None:
            rows = tf.nn.bias_add(rows, self.bias)
        if x.shape.rank == 2:
            return rows
        return tf.reshape(rows, (*shape_of(x)[:-1], self.kernel.shape[-1]))


class Embedding(ParameterLayer):
    """Rows of a table.

    Attributes:
        embeddings: float, shape (rows, width).
    """

    def __init__(
        self,
        rows: int,
        width: int,
        *,
        padding_index: int | None = None,
        trainable: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._first_shape, self._learned = (rows, width), trainable
        self.padding_index = padding_index

    def build(self, input_shape: Any = None) -> None:
        """Make the variable."""
        self.create("embeddings", self._first_shape, trainable=self._learned)

    def call(self, ids: tf.Tensor, table: tf.Tensor | None = None) -> tf.Tensor:
        """Look rows up; the padding row is not trained.

        Args:
            ids: integer, shape (...).
            table: float, shape (rows, width): what the embeddings are read from; default,
                themselves. Its gradient is sparse, that of the embeddings is dense.

        Returns:
            float, shape (..., width).
        """
        if table is None:
            looked_up = _look_up(tf.convert_to_tensor(self.embeddings), ids)
        else:
            looked_up = tf.gather(table, ids)
        if self.padding_index is not None:
            padding = (ids == self.padding_index)[..., None]
            looked_up = tf.where(padding, tf.stop_gradient(looked_up), looked_up)
        return looked_up


@tf.custom_gradient
def _look_up(table: tf.Tensor, ids: tf.Tensor) -> Any:
    """Rows of `table`, whose gradient is dense.

    Of a sparse one that names a row several times, Keras' optimizers square and clip each part by
    itself.
    """
    rows, width = table.shape
    places = tf.reshape(tf.identity(ids), (-1,))

    def gradient(of_rows: tf.Tensor) -> tuple[tf.Tensor, None]:
        # A row of many tokens is a sum of as many, of which a half type would lose most.
        wide = of_rows if of_rows.dtype == tf.float64 else tf.cast(of_rows, tf.float32)
        summed = tf.math.unsorted_segment_sum(tf.reshape(wide, (-1, width)), places, rows)
        return tf.cast(summed, of_rows.dtype), None

    return tf.gather(table, ids), gradient


class LayerNorm(ParameterLayer):
    """(x - mean) / sqrt(variance + eps) * gamma + beta over the last axis; float32 for halves.

    Attributes:
        gamma, beta: float, shape (width,).
    """

    autocasts = False

    def __init__(self, width: int, eps: float, **options: Any) -> None:
        super().__init__(**options)
        self.width, self.eps = width, eps

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.create("gamma", (self.width,))
        self.create("beta", (self.width,))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """float, shape (..., width), to the same."""
        wide = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        normalised = centred / tf.sqrt(variance + self.eps)
        gamma, beta = (tf.cast(v, wide.dtype) for v in (self.gamma, self.beta))
        return tf.cast(normalised * gamma + beta, x.dtype)


def shape_of(x: tf.Tensor) -> list[Any]:
    """The shape of `x`: integers where known, scalar tensors where only known when it runs."""
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]
