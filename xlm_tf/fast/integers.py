"""Products of int8: which one this processor computes fast and exactly, and rounding for it.

The rule: of XLA's product and oneDNN's, those that a trial finds exact; of these the faster one on
a product of middle size, if it is faster than float32's. Small matrices are oneDNN's, because XLA
compiles its product for each number of rows. The sums are exact by both.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_library

from xlm_core.errors import InputError
from xlm_core.quantization import LARGEST
from xlm_tf.fast.rule import are_traced, only_formulas
from xlm_tf.layers import shape_of
from xlm_tf.losses import at_least_float32

# -- ways to multiply ------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntegerProduct:
    """A way to multiply rows of integers by a matrix of int8.

    Attributes:
        name: As documented and printed.
        multiply: (integers, int8, shape (rows, inputs); matrix, int8, shape (inputs, outputs);
            float32 scales of the outputs) to float32, shape (rows, outputs): the exact sums,
            rounded to float32, times the scales.
        compiled: Whether XLA compiles it, with what comes before and after, for each number of
            rows.
    """

    name: str
    multiply: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    compiled: bool = False


def _by_xla(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.matmul(integers, kernel, output_type=tf.int32), tf.float32) * scales


def _by_onednn(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    one, zeros = tf.constant(float(LARGEST)), tf.zeros_like(scales)  # 127 stands for 127
    # oneDNN's product of int8 with int8, which has no name among TensorFlow's public ones.
    results = op_def_library.apply_op(
        "_QuantizedMatMul",
        name="product",
        device_inputs=[tf.bitcast(integers, tf.qint8), tf.bitcast(kernel, tf.qint8), zeros],
        host_inputs=[-one, one, -LARGEST * scales, LARGEST * scales],
        Tdevice_outputs=[tf.float32],
        Thost_outputs=[],
        T1=tf.qint8,
        T2=tf.qint8,
        Tbias=tf.float32,
        U=tf.float32,
        Tout=tf.float32,
        transpose_a=False,
        transpose_b=False,
        # The matrix is brought into oneDNN's order at each call. As a constant it would be ordered
        # once, and stay as it was at the first call when its variable has another value.
        is_weight_const=False,
        is_bias_const=False,
        fused_ops=["BiasAdd", "Dequantize"],
        input_quant_mode="SCALED",
        output_quant_mode="SCALED",
        leakyrelu_alpha=0.2,
    )
    return results[0][0]


@functools.cache
def _onednn_graph() -> Any:
    """The function behind oneDNN's product, made at its first use: eager calls know no such op."""
    kinds = (([None, None], tf.int8), ([None, None], tf.int8), ([None], tf.float32))
    signature = [tf.TensorSpec(shape, kind) for shape, kind in kinds]
    return tf.function(_by_onednn, input_signature=signature, autograph=False)


XLA = IntegerProduct("XLA", _by_xla, compiled=True)
ONEDNN = IntegerProduct("oneDNN", lambda *given: _onednn_graph()(*given))


def _has_vnni() -> bool:
    """Whether oneDNN sums products of int8 exactly here; without VNNI, pairs are cut off."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() in ("0", "false"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace").partition("\nflags")[2]
    except OSError:
        return False
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags.partition("\n")[0].split())


def available() -> list[IntegerProduct]:
    """The products of integers that this TensorFlow has on this processor."""
    return [XLA, ONEDNN] if _has_vnni() else [XLA]


# -- which one -------------------------------------------------------------------------------------

# (rows, inputs, outputs). The first is small enough for a reference kernel to end soon, and large
# enough to tell it: 0.1 s, where others take less than a millisecond.
SMALL_TRIAL, TRIAL = (64, 512, 64), (256, 1024, 512)
# A trial ends after so many tries, or so many seconds. What the machine does meanwhile may slow one
# product down, so all take so many turns.
TRIES, LONGEST_TRIAL, ROUNDS = 5, 0.05, 3
# Smaller matrices are not worth XLA's time to compile: a tenth of a second for each number of rows.
SMALLEST_COMPILED = 128 * 128


@functools.cache
def chosen_product(compiled: bool = True) -> IntegerProduct | None:
    """The product of integers that this process uses: the fastest that is exact.

    Found at its first use, in half a second, most of which XLA compiles in.

    Args:
        compiled: Whether XLA's may be chosen.

    Returns:
        None if none is exact, or none faster than float32's.
    """
    with tf.init_scope():
        exact = [each for each in available() if is_exact(each)]
        if not compiled:
            return ONEDNN if ONEDNN in exact else None
        trial = Trial.of(*TRIAL)
        seconds = dict.fromkeys([None, *exact], math.inf)
        for _ in range(ROUNDS):
            seconds = {each: min(found, trial.seconds(each)) for each, found in seconds.items()}
        return min(seconds, key=lambda each: seconds[each])


def is_exact(product: IntegerProduct) -> bool:
    """Whether this TensorFlow has the product, it is right for the largest values, and no loop."""
    with tf.init_scope():
        try:
            small = Trial.of(*SMALL_TRIAL)
            return (
                small.is_summed_exactly_by(product)
                and small.seconds(product) < LONGEST_TRIAL
                and Trial.of(*TRIAL).is_summed_exactly_by(product)
            )
        except (TypeError, ValueError, RuntimeError, NotImplementedError, tf.errors.OpError):
            return False


@dataclass(frozen=True)
class Trial:
    """Rows and a matrix of the largest values, int8, whose sums an inexact product cuts off."""

    rows: np.ndarray[Any, np.dtype[np.int8]]
    kernel: np.ndarray[Any, np.dtype[np.int8]]

    @classmethod
    def of(cls, rows: int, inputs: int, outputs: int) -> Trial:
        """Both signs, and a few rows and outputs with small values among the largest."""
        largest = np.full((max(rows, outputs), inputs), LARGEST, np.int8)
        largest[1::2] = -LARGEST
        largest[2::4, ::3] = 1
        return cls(largest[:rows], -largest[:outputs].T)

    def is_summed_exactly_by(self, product: IntegerProduct) -> bool:
        """Whether no sum is cut off or rounded."""
        exact = self.rows.astype(np.float64) @ self.kernel.astype(np.float64)
        found = _tried(product)(*self._given(product)).numpy()
        return bool((found == exact.astype(np.float32)).all())

    def seconds(self, product: IntegerProduct | None) -> float:
        """The least time of a few tries; None: of float32's product."""
        call, given = _tried(product), self._given(product)
        call(*given)
        found: list[float] = []
        start = time.perf_counter()
        while len(found) < TRIES and (not found or time.perf_counter() - start < LONGEST_TRIAL):
            before = time.perf_counter()
            call(*given).numpy()
            found.append(time.perf_counter() - before)
        return min(found)

    def _given(self, product: IntegerProduct | None) -> tuple[tf.Tensor, ...]:
        dtype = np.float32 if product is None else np.int8
        ones = tf.ones(self.kernel.shape[1])
        return tf.constant(self.rows.astype(dtype)), tf.constant(self.kernel.astype(dtype)), ones


@functools.cache
def _tried(product: IntegerProduct | None) -> Any:
    if product is None:
        return lambda rows, kernel, _: tf.matmul(rows, kernel)
    if not product.compiled:
        return product.multiply
    return tf.function(product.multiply, jit_compile=True, autograph=False)


# -- rounding --------------------------------------------------------------------------------------


def row_scales(x: tf.Tensor, largest: float | tf.Tensor = LARGEST) -> tf.Tensor:
    """The largest size in each row over 127; 1 for rows of zeros.

    Args:
        x: float32 or float64, shape (..., width).
        largest: 127. XLA takes it as a tensor: it would multiply by the inverse of a number, which
            is rounded.

    Returns:
        Of that dtype, shape (..., 1). A row that holds NaN or infinity has that as its scale.
    """
    # Half the time of the largest absolute value, which is written before it is read (measured).
    above, below = tf.reduce_max(x, -1, keepdims=True), tf.reduce_min(x, -1, keepdims=True)
    scale = tf.maximum(above, -below) / largest
    # Zeros, and what is too small to be divided exactly: all become 0.
    return tf.where(scale < np.finfo(x.dtype.as_numpy_dtype).tiny, tf.ones_like(scale), scale)


def round_rows(x: tf.Tensor, largest: float | tf.Tensor = LARGEST) -> tuple[tf.Tensor, tf.Tensor]:
    """Integers and scales, as `xlm_tf.quantization.rounded` documents them.

    Args:
        x, largest: As in `row_scales`; `x` may be of a half type, too.
    """
    x = at_least_float32(x)
    scale = row_scales(x, largest)
    return tf.cast(tf.round(x / scale), tf.int8), scale


NO_GRADIENT = (
    "a gradient is wanted through a layer whose activations are rounded to int8, where it is 0 "
    "everywhere: train before quantize(), or use activations=False."
)


def without_gradient(function: Callable[[tf.Tensor], Any], x: tf.Tensor) -> Any:
    """function(x), through which asking for a gradient is an error."""

    @tf.custom_gradient
    def refusing(x: tf.Tensor) -> Any:
        def gradient(*of_results: tf.Tensor) -> tf.Tensor:
            if tf.executing_eagerly():
                raise InputError(NO_GRADIENT)
            # Under a tape, the graph of a gradient is made whether it will run or not.
            with tf.control_dependencies([tf.debugging.Assert(False, [NO_GRADIENT])]):
                return tf.fill(tf.shape(x), tf.constant(np.nan, x.dtype))

        return function(tf.stop_gradient(x)), gradient

    return refusing(x)


# -- layers ----------------------------------------------------------------------------------------

# A layer's matrix, float32 scales of its outputs, and its bias in float32, if there is one.
Parameters = tuple[tf.Tensor, ...]


def integer_linears(layers: Sequence[Any], x: tf.Tensor) -> list[tf.Tensor] | None:
    """Linear layers of int8 that have the same input, which is rounded once for all.

    (integers * scale) (layer.kernel * layer.scale) + layer.bias for each, with exact sums, so that
    only the scales round.

    Args:
        layers: `QuantizedLinear`, of the same number of inputs.
        x: float, shape (rows, inputs).

    Returns:
        Of the dtype of `x`, shape (rows, outputs), each; None where the formula has to serve.
    """
    product = _product_for(layers, x)
    if product is None:
        return None
    call = functools.partial(_linears, product)
    found = _run(product, ("linears",), call, x, [_parameters(layer) for layer in layers])
    return [_in_shape(y, x, layer) for y, layer in zip(found, layers, strict=True)]


def integer_feed_forward(
    first: Any, second: Any, x: tf.Tensor, activation: Callable[[tf.Tensor], tf.Tensor]
) -> tf.Tensor | None:
    """second(activation(first(x))) for two layers of int8, as one compiled function.

    Args:
        first, second: `QuantizedLinear`, unmodified, both of which round their input.
        x: float32, shape (rows, inputs).
        activation: What lies between them.

    Returns:
        float32, shape (rows, outputs); None where the layers have to be called.
    """
    product = _product_for((first, second), x)
    if product is None or not product.compiled or x.dtype != tf.float32:
        return None
    call = functools.partial(_feed_forward, product, activation)
    parameters = [_parameters(first), _parameters(second)]
    (y,) = _run(product, ("feed_forward", activation), call, x, parameters)
    return _in_shape(y, x, second)


def _product_for(layers: Sequence[Any], x: tf.Tensor) -> IntegerProduct | None:
    """What multiplies rows like those of `x` by these matrices, if integers may be multiplied."""
    able = (
        x.dtype in (tf.float32, tf.bfloat16, tf.float16)
        and all(0 < layer.kernel.shape[0] * LARGEST**2 < 2**31 for layer in layers)
        and not are_traced()
        and not only_formulas()
        and not tf.config.functions_run_eagerly()
        and not tf.config.list_logical_devices("GPU")
    )
    if not able:
        return None
    large = all(math.prod(layer.kernel.shape) >= SMALLEST_COMPILED for layer in layers)
    return chosen_product(large)


def _parameters(layer: Any) -> Parameters:
    kernel, scales = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.scale)
    found = (kernel, tf.cast(scales, tf.float32))
    return found if layer.bias is None else (*found, tf.cast(layer.bias, tf.float32))


def _in_shape(y: tf.Tensor, x: tf.Tensor, layer: Any) -> tf.Tensor:
    return tf.cast(tf.ensure_shape(y, (x.shape[0], layer.kernel.shape[1])), x.dtype)


def _linears(
    product: IntegerProduct,
    x: tf.Tensor,
    layers: Sequence[Parameters],
    largest: float | tf.Tensor = LARGEST,
) -> list[tf.Tensor]:
    integers, scale = round_rows(x, largest)
    found = []
    for kernel, scales, *bias in layers:
        y = product.multiply(integers, kernel, scales) * scale
        found.append(tf.nn.bias_add(y, bias[0]) if bias else y)
    return found


def _feed_forward(
    product: IntegerProduct,
    activation: Callable[[tf.Tensor], tf.Tensor],
    x: tf.Tensor,
    layers: Sequence[Parameters],
    largest: float | tf.Tensor = LARGEST,
) -> list[tf.Tensor]:
    first, second = layers
    (inner,) = _linears(product, x, [first], largest)
    return _linears(product, activation(inner), [second], largest)


def _run(
    product: IntegerProduct,
    key: tuple[Any, ...],
    function: Callable[..., list[tf.Tensor]],
    x: tf.Tensor,
    layers: Sequence[Parameters],
) -> list[tf.Tensor]:
    """function(x, layers), by XLA if the product is: `key` tells functions apart."""

    def run(x: tf.Tensor) -> list[tf.Tensor]:
        if not product.compiled:
            return function(x, layers)
        rows = shape_of(x)[0]
        padding = rounded_up(rows) - rows
        compiled = _compiled((product, *key), function, tuple(map(len, layers)))
        padded = tf.pad(tf.cast(x, tf.float32), [[0, padding], [0, 0]])
        found = compiled(padded, list(layers), tf.constant(LARGEST, tf.float32))
        return [y[:rows] for y in found]

    found: list[tf.Tensor] = without_gradient(run, x)
    return found


_COMPILED: dict[tuple[Any, ...], Any] = {}


def _compiled(key: tuple[Any, ...], function: Any, sizes: tuple[int, ...]) -> Any:
    """`function`, compiled by XLA at its first call with a number of rows.

    Args:
        key: Of the function.
        function: Of rows, parameters, and 127.
        sizes: How many tensors the parameters of each layer are.
    """
    if (*key, sizes) not in _COMPILED:
        matrix, scales = tf.TensorSpec([None, None], tf.int8), tf.TensorSpec([None])
        signature = [
            tf.TensorSpec([None, None]),
            [(matrix, *[scales] * (size - 1)) for size in sizes],
            tf.TensorSpec([]),
        ]
        _COMPILED[(*key, sizes)] = tf.function(
            function, input_signature=signature, autograph=False, jit_compile=True
        )
    return _COMPILED[(*key, sizes)]


POWERS_OF_TWO = [2**exponent for exponent in range(31)]
# By how many powers of two are less than the number of rows.
STEPS = [max(8, 2**exponent // 16) for exponent in range(32)]


def rounded_up(rows: Any) -> Any:
    """A number of rows that XLA compiles for: at least so many, at most an eighth or seven more.

    So there are eight such numbers between a power of two and the next.

    Args:
        rows: An integer, or int32, shape ().
    """
    if isinstance(rows, int):
        step = STEPS[max(rows - 1, 0).bit_length()]
        return max((rows + step - 1) // step, 1) * step
    smaller = tf.reduce_sum(tf.cast(tf.constant(POWERS_OF_TWO) < rows, tf.int32))
    step = tf.gather(tf.constant(STEPS), smaller)
    return tf.maximum((rows + step - 1) // step, 1) * step
