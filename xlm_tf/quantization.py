"""Inference in int8: `quantize`, and the layer that stands in for the encoder's linear layers.

Source: none in the published code. Symmetric, one scale for each output and, for what goes in, one
for each row, found when it comes (dynamic quantization).
"""

from __future__ import annotations

from typing import Any, TypeVar

import keras
import tensorflow as tf

from xlm_core.errors import ConfigError, InputError
from xlm_core.quantization import linear_layers
from xlm_tf.fast.graphs import forget_graphs
from xlm_tf.fast.integers import integer_linears, round_rows, without_gradient
from xlm_tf.fast.linear import OWN_LINEAR
from xlm_tf.fast.rule import code_of
from xlm_tf.layers import Linear, ParameterLayer, shape_of, unfilled

Model = TypeVar("Model", bound=keras.Model)


def rounded(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Integers and scales: integers * scales is `x`, rounded.

    Args:
        x: float, shape (..., width).

    Returns:
        int8, shape (..., width), at most 127 in size, ties to even; and in at least float32, shape
        (..., 1), the largest size in each row over 127. A row that holds NaN or infinity has that
        as its scale.
    """
    return round_rows(x)


class QuantizedLinear(ParameterLayer):
    """A linear layer whose matrix is int8; for inference.

    Args:
        layer: Whose place it takes.
        activations: Whether what goes in is rounded too, row by row.
        options: Keras' own.

    Attributes:
        kernel: int8, shape (inputs, outputs).
        bias: float, shape (outputs,), or None.
        scale: float, shape (outputs,), never of a half type: kernel * scale is the matrix.
    """

    autocasts = False

    def __init__(self, layer: Linear, *, activations: bool = True, **options: Any) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy, trainable=False, **options)
        self.activations = activations
        integers, scale = rounded(tf.transpose(tf.convert_to_tensor(layer.kernel)))
        values = {"kernel": tf.transpose(integers), "scale": scale[:, 0]}
        if layer.bias is not None:
            values["bias"] = tf.convert_to_tensor(layer.bias)
        self.bias: keras.Variable | None = None
        self._shapes = {name: (tuple(v.shape), v.dtype.name) for name, v in values.items()}
        with unfilled():
            self.build()
        self.built = True
        for name, value in values.items():
            getattr(self, name).assign(value)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        for name in ("kernel", "bias", "scale"):
            if name in self._shapes:
                shape, dtype = self._shapes[name]
                self.create(name, shape, trainable=False, dtype=dtype)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """float, shape (..., inputs), to float, shape (..., outputs).

        Raises:
            InputError: If a gradient is wanted through activations that are rounded: it would be 0.
                In a graph, TensorFlow's InvalidArgumentError.
        """
        rows = x if x.shape.rank == 2 else tf.reshape(x, (-1, x.shape[-1]))
        y = self._rounding(rows) if self.activations else self._as_it_comes(rows)
        if x.shape.rank == 2:
            return y
        return tf.reshape(y, (*shape_of(x)[:-1], self.kernel.shape[-1]))

    def _rounding(self, rows: tf.Tensor) -> tf.Tensor:
        found = integer_linears((self,), rows)
        return without_gradient(self._formula, rows) if found is None else found[0]

    def _formula(self, rows: tf.Tensor) -> tf.Tensor:
        integers, scale = rounded(rows)
        wide = scale.dtype
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), wide)
        y = tf.matmul(tf.cast(integers, wide), kernel) * scale * tf.cast(self.scale, wide)
        y = y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, wide))
        return tf.cast(y, rows.dtype)

    def _as_it_comes(self, rows: tf.Tensor) -> tf.Tensor:
        scale = tf.convert_to_tensor(self.scale)
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), scale.dtype) * scale
        y = tf.matmul(rows, tf.cast(kernel, rows.dtype))
        return y if self.bias is None else tf.nn.bias_add(y, tf.cast(self.bias, rows.dtype))


OWN_LINEAR.update(code_of(QuantizedLinear))


def quantize(model: Model, *, activations: bool = True) -> Model:
    """Turn the encoder's matrices into int8, in place, for inference.

    They then take a quarter of their memory. Where the processor multiplies integers faster
    (docs/speed.md), so does the model, if what goes into a product is rounded too. Embeddings,
    norms and heads stay as they are. There is no way back; nothing is trainable afterwards.

    Args:
        model: Any model of this library, with nothing put in the place of its linear layers.
        activations: Whether to round what goes into each product to int8 too, row by row. False:
            only the weights are rounded, and products are computed as before.

    Returns:
        The same model.

    Raises:
        ConfigError: If a layer is not the library's own or is int8 already.
        InputError: If a matrix holds NaN or infinity.
    """
    layers = list(linear_layers(model))
    for name, parent, attribute in layers:
        layer = getattr(parent, attribute)
        if isinstance(layer, QuantizedLinear):
            raise ConfigError(f"{name} is int8 already: quantize a model once.")
        own = type(layer) is Linear and "call" not in layer.__dict__
        if not own or layer.activity_regularizer is not None:
            raise ConfigError(
                f"{name} is a {type(layer).__name__} or has a call or a regularizer of its own: "
                "quantize() takes models whose linear layers are untouched. Merge or remove what "
                "was put there first."
            )
        if not layer.built:
            raise ConfigError(f"{name} has no variables yet: build the model before quantize().")
        if not bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(layer.kernel)))):
            raise InputError(f"{name}.kernel holds NaN or infinity, which int8 cannot.")
    made: dict[Linear, QuantizedLinear] = {}  # layers that were one stay one
    for _, parent, attribute in layers:
        old = getattr(parent, attribute)
        if isinstance(old, QuantizedLinear):
            continue  # done under another name
        if old not in made:
            made[old] = QuantizedLinear(old, activations=activations)
        layer = made[old]
        parent._tracker.replace_tracked_value("layers", old, layer)
        setattr(parent, attribute, layer)
    model.trainable = False
    for variable in model.variables:  # tapes ask TensorFlow's variables, which Keras leaves alone
        variable.value._trainable = False
    # Graphs hold the variables that they were made with.
    model._forget_traces()
    for part in model._flatten_layers():
        forget_graphs(part)
    return model


def is_quantized(model: keras.Model) -> bool:
    """Whether any matrix of `model` is int8."""
    return any(isinstance(layer, QuantizedLinear) for layer in model._flatten_layers())
