"""Products of integers: what int8 layers are computed by where the processor is fast at it."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_library

from xlm_tf.fast.rule import are_traced, only_formulas


def integer_product(
    layer: Any, integers: tf.Tensor, scale: tf.Tensor, dtype: tf.DType
) -> tf.Tensor | None:
    """(integers * scale) (layer.kernel * layer.scale) + layer.bias, where int8 is fast.

    The sums are exact, so that only the scales round.

    Args:
        layer: A `QuantizedLinear`.
        integers: int8, shape (rows, inputs).
        scale: float, shape (rows, 1).
        dtype: Of what is returned.

    Returns:
        float, shape (rows, outputs); None where there is no such product.
    """
    inputs, outputs = layer.kernel.shape
    able = (
        MULTIPLIES_INTEGERS
        and dtype in (tf.float32, tf.bfloat16, tf.float16)
        and inputs * 127**2 < 2**31
        and not are_traced()
        and not only_formulas()
        and not tf.config.functions_run_eagerly()
        and not tf.config.list_logical_devices("GPU")
        and _sums_exactly()
    )
    if not able:
        return None
    kernel, scales = tf.convert_to_tensor(layer.kernel), tf.convert_to_tensor(layer.scale)
    y = _scaled_product(integers, kernel, tf.cast(scales, tf.float32))
    # Gradients end at `scale`, where they are refused.
    y = tf.stop_gradient(tf.ensure_shape(y, (integers.shape[0], outputs))) * scale
    y = y if layer.bias is None else tf.nn.bias_add(y, tf.cast(layer.bias, y.dtype))
    return tf.cast(y, dtype)


@functools.cache
def _scaled_products() -> Any:
    """The function behind `_scaled_product`, made at its first use."""

    def product(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
        one, zeros = tf.constant(127.0), tf.zeros_like(scales)  # 127 stands for 127
        # oneDNN's product of int8 with int8, which has no name among TensorFlow's public ones.
        results = op_def_library.apply_op(
            "_QuantizedMatMul",
            name="product",
            device_inputs=[tf.bitcast(integers, tf.qint8), tf.bitcast(kernel, tf.qint8), zeros],
            host_inputs=[-one, one, -127 * scales, 127 * scales],
            Tdevice_outputs=[tf.float32],
            Thost_outputs=[],
            T1=tf.qint8,
            T2=tf.qint8,
            Tbias=tf.float32,
            U=tf.float32,
            Tout=tf.float32,
            transpose_a=False,
            transpose_b=False,
            is_weight_const=False,  # which would be kept as it was at the first call
            is_bias_const=False,
            fused_ops=["BiasAdd", "Dequantize"],
            input_quant_mode="SCALED",
            output_quant_mode="SCALED",
            leakyrelu_alpha=0.2,
        )
        return results[0][0]

    sizes = {"integers": ([None, None], tf.int8), "kernel": ([None, None], tf.int8)}
    sizes["scales"] = ([None], tf.float32)
    signature = [tf.TensorSpec(shape, kind) for shape, kind in sizes.values()]
    return tf.function(product, input_signature=signature, autograph=False)


def _scaled_product(integers: tf.Tensor, kernel: tf.Tensor, scales: tf.Tensor) -> tf.Tensor:
    """(integers kernel) * scales, float32: int8 times int8, exact but for the scales."""
    return _scaled_products()(integers, kernel, scales)


def _multiplies_integers() -> bool:
    """Whether this processor sums products of int8 exactly; without VNNI, pairs are cut off."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1").lower() in ("0", "false"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace").partition("\nflags")[2]
    except OSError:
        return False
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(flags.partition("\n")[0].split())


MULTIPLIES_INTEGERS = _multiplies_integers()


@functools.cache
def _sums_exactly() -> bool:
    """Whether this TensorFlow has the product, and it is right for the largest values."""
    integers = np.full((17, 256), 127, np.int8)
    kernel = np.full((256, 48), -127, np.int8)
    kernel[:, 1::2] = 127
    with tf.init_scope():
        try:
            found = _scaled_product(integers, kernel, tf.ones(48)).numpy()
        except (TypeError, ValueError, RuntimeError, tf.errors.OpError):
            return False
    return bool((found == integers.astype(np.float32) @ kernel.astype(np.float32)).all())
