"""The seam for speed: what layers compute, by the fastest means at hand.

Each function says first what it computes, in terms of the layer's own call; that is what it does
wherever the fast way does not apply. `plain_kernels()` turns every fast way off.

A fast way stands in for a layer only where calling the layer would run the code of its class and
nothing else (`are_plain`). TensorFlow's speed on a CPU comes from its graph optimizer: a product
of matrices, its bias and its activation become one operation of oneDNN where they follow each
other directly. So rows stay matrices, and eager calls run as compiled graphs (`compiled`).
"""

from __future__ import annotations

import functools
import os
import platform
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_library
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from xlm_tf.activations import gelu, relu
from xlm_tf.layers import Embedding, dropout, softmax

# Making a graph takes half a second for 6 layers, which a narrower model would not win back soon.
SMALLEST_WIDTH = 128

_PLAIN: ContextVar[bool] = ContextVar("plain_kernels", default=False)
_TRACED: ContextVar[bool] = ContextVar("traced", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Under it, models run by their formulas alone: to compare, and to look for errors.

    Graphs that were made before stay as they are.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


# -- where the fast ways apply ---------------------------------------------------------------------


@contextmanager
def tracing() -> Iterator[None]:
    """Under it, graphs are made for elsewhere: shapes in them follow those of their inputs."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def are_traced() -> bool:
    """Whether this call makes a graph whose shapes must not depend on values.

    XLA and exports ask for that; `tf.function`, `fit` and `predict` do not.
    """
    if _TRACED.get():
        return True
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


Kinds = dict[type[Any], Any]


def as_written(*kinds: type[Any]) -> Kinds:
    """Classes with their code as it is now, by which `are_plain` tells patched ones."""
    return {kind: kind.call for kind in kinds}


def are_plain(modules: Iterable[Any], kinds: Kinds) -> bool:
    """Whether calling each of `modules` would run the code of one of `kinds`, and nothing else.

    Never under `plain_kernels()`.
    """
    return not _PLAIN.get() and all(
        type(layer) in kinds
        and kinds[type(layer)] is type(layer).call
        and _does_its_call_only(layer)
        for layer in modules
    )


def _does_its_call_only(layer: Any) -> bool:
    return "call" not in layer.__dict__ and layer.activity_regularizer is None


# -- eager calls as graphs -------------------------------------------------------------------------

_GRAPHS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
_GRAPHS_LOCK = threading.Lock()


def compiled(
    model: Any, method: str, tensors: Mapping[str, tf.Tensor | None], **options: Any
) -> Any:
    """getattr(model, method)(tensors, **options), as one graph if called eagerly.

    A graph is made once for the kinds of tensors and the options, whatever the shapes. It reads
    the variables each time it runs; where one was replaced by another, a new graph is made. With
    layers of others inside, there is no graph: their code may do something else at each call.

    Args:
        model: Whose method it is; if it is wide enough for a graph to pay.
        method: Its name. It may depend on the arguments, on variables, and on what `_state` and
            `_FIELDS` name.
        tensors: By name.
        options: Hashable.
    """
    layers = list(model._flatten_layers(include_self=False))
    if (
        model.config.emb_dim < SMALLEST_WIDTH
        or not tf.executing_eagerly()
        or tf.config.functions_run_eagerly()
        or tf.distribute.has_strategy()
        or _TRACED.get()
        or _PLAIN.get()
        or not all(map(_is_own, layers))
    ):
        return getattr(model, method)(tensors, **options)
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    kinds = {name: _kind(name, tensor) for name, tensor in given.items()}
    fields = tuple(getattr(model.config, name) for name in _FIELDS)
    state = tuple(map(_state, [model, *layers]))
    key = (method, tuple(kinds.items()), tuple(options.items()), fields, state)
    with _GRAPHS_LOCK:
        graphs = _GRAPHS.setdefault(model, {})
        if key not in graphs:
            # Those of variables that are gone are of no more use.
            for other in [other for other in graphs if other[-1] != state]:
                del graphs[other]
            graphs[key] = _graph(weakref.ref(model), method, list(tensors), kinds, options)
        graph = graphs[key]
    return graph(*given.values())


def forget_graphs(model: Any) -> None:
    """Drop the graphs of `model`: they hold variables that were replaced until the next call."""
    with _GRAPHS_LOCK:
        _GRAPHS.pop(model, None)


def _is_own(layer: Any) -> bool:
    """Whether a layer is the library's, whose code does the same each time."""
    package = __name__.partition(".")[0]
    written_in = (type(layer).__module__, getattr(type(layer).call, "__module__", ""))
    return _does_its_call_only(layer) and all(
        module.partition(".")[0] == package for module in written_in
    )


# What may change in a configuration and in a layer, as far as graphs depend on it.
_FIELDS = ("causal", "dropout", "pad_index", "chunk_size_feed_forward")
_ATTRIBUTES = (
    "compute_dtype",
    "generation",
    "eps",
    "padding_index",
    "rate",
    "n_heads",
    "chunk_size",
    "activation",
    "activations",
)


def _state(layer: Any) -> tuple[Any, ...]:
    return (type(layer), type(layer).call, *(getattr(layer, name, None) for name in _ATTRIBUTES))


def _kind(name: str, tensor: tf.Tensor) -> tf.TensorSpec:
    """A tensor without the sizes that differ from call to call."""
    shape: list[int | None] = [None] * tensor.shape.rank
    if name in ("inputs_embeds", "hidden", "matrix"):
        shape[-1] = tensor.shape[-1]  # the model's width, which products must know
    return tf.TensorSpec(tensor.shape if name == "head_mask" else shape, tensor.dtype)


def _graph(
    model: Callable[[], Any],
    method: str,
    names: list[str],
    kinds: Mapping[str, tf.TensorSpec],
    options: Mapping[str, Any],
) -> Any:
    def run(*values: tf.Tensor) -> Any:
        tensors = dict.fromkeys(names) | dict(zip(kinds, values, strict=True))
        return getattr(model(), method)(tensors, **options)

    # An object of its own for each graph: by the code of `run`, TensorFlow would count the graphs
    # of all models as one function that is made again and again, and warn of it.
    own = functools.partial(run)
    return tf.function(own, input_signature=list(kinds.values()), autograph=False)


# -- linear layers ---------------------------------------------------------------------------------

_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "none": lambda x: x,
    "gelu": gelu,
    "relu": relu,
}


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


# -- products of integers --------------------------------------------------------------------------


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
        and not _PLAIN.get()
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


# -- the matrix that is both the word embeddings and the output ------------------------------------


@contextmanager
def shared_matrix(weight: tf.Tensor) -> Iterator[tf.Tensor]:
    """Under it, `embedding` and the yielded tensor share one gradient of `weight`.

    A vocabulary's gradient is as large as the embeddings. By itself, TensorFlow makes one for the
    look-up and one for the output, both dense, and adds them; here the few rows that were looked up
    are added to the output's.

    Args:
        weight: float, shape (vocabulary, width): the word embeddings.
    """
    output, rows = _shared(weight)
    token = _SHARED.set(rows)
    try:
        yield output
    finally:
        _SHARED.reset(token)


_SHARED: ContextVar[tf.Tensor | None] = ContextVar("shared_matrix", default=None)


@tf.custom_gradient
def _shared(weight: tf.Tensor) -> Any:
    """A matrix as two; the gradient of the second may be sparse."""

    def gradient(of_output: tf.Tensor, of_rows: Any) -> tf.Tensor:
        if isinstance(of_rows, tf.IndexedSlices):
            return add_rows(of_output, of_rows.indices[:, None], of_rows.values)
        return of_output + of_rows

    return (tf.identity(weight), tf.identity(weight)), gradient


def add_rows(matrix: tf.Tensor, places: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`tf.tensor_scatter_nd_add`, in the matrix's own memory where nothing else holds it.

    That one copies the matrix always, 800 MB at 200,000 words (measured).
    """
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=matrix, indices=places, updates=rows)


_EMBEDDING = as_written(Embedding)


def embedding(layer: Any, ids: tf.Tensor) -> tf.Tensor:
    """layer(ids).

    Args:
        layer: The word embeddings, or whatever was put in their place.
        ids: integer, shape (...).

    Returns:
        float, shape (..., width).
    """
    shared = _SHARED.get()
    if shared is not None and are_plain((layer,), _EMBEDDING):
        return layer(ids, table=shared)
    return layer(ids)


# -- attention -------------------------------------------------------------------------------------


def attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    hidden: tf.Tensor | None,
    *,
    rate: float = 0.0,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """softmax(query key^T / sqrt(head_dim) + hidden) value.

    Args:
        query: float, shape (batch, heads, query, head_dim).
        key, value: float, shape (batch, heads, key, head_dim).
        hidden: float, broadcastable to (batch, heads, query, key): 0 where a query sees a key,
            else the least number of the dtype.
        rate: At which weights are dropped.
        seed: Of the dropout, in training.

    Returns:
        float, shape (batch, heads, query, head_dim).
    """
    scores = tf.matmul(query * query.shape[-1] ** -0.5, key, transpose_b=True)
    if hidden is not None:
        scores = scores + hidden
    return tf.matmul(dropout(softmax(scores), rate, seed, site=0), value)
