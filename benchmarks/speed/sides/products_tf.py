"""The products a task consists of, as TensorFlow computes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.speed.protocol import Absent, Prepared, Side
from benchmarks.speed.tasks import Task, by_size, narrow, products_of
from xlm_tf.fast.integers import available, chosen_product, is_exact
from xlm_tf.fast.linear import feed_forward, linears
from xlm_tf.layers import Linear
from xlm_tf.quantization import QuantizedLinear

TRIES = 3


class ProductsSide(Side):
    """float32 and int8: TensorFlow's bfloat16 on CPUs is no limit to anybody."""

    def version(self) -> str:
        """TensorFlow's."""
        return f"tensorflow {tf.__version__}"

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`. A run gives what that of `products_torch` gives."""
        if options.get("dtype", "float32") == "int8":
            return Prepared(of_integers(task))
        if options.get("dtype", "float32") != "float32":
            raise Absent(f"no products in {options['dtype']}")
        if task.kind == "one row":
            return Prepared(lambda: streaming(task))
        if task.kind == "parts":
            trial = 1e3 * timed(chosen_product)
            return Prepared(lambda: {"figures": {"TensorFlow's int8, trial": trial}})
        if task.kind == "rounding":
            return Prepared(lambda: {"figures": rounding(task)})
        if task.kind == "generate":
            return Prepared(lambda: in_turn(task))
        cases = [
            (tf.random.normal((m, k)), tf.Variable(tf.random.normal((k, n)) * 0.03))
            for m, k, n in products_of(task)
        ]
        graphs = [graph_of(weight) for _, weight in cases]

        def run() -> dict[str, Any]:
            found: list[list[Any]] = []
            for (x, weight), graph in zip(cases, graphs, strict=True):
                for name, way in (
                    ("tf.matmul", lambda x, w=weight: tf.matmul(x, w)),
                    ("tf.matmul + bias", graph),
                ):
                    seconds = min(timed(way, x) for _ in range(TRIES))
                    found.append([name, *x.shape, weight.shape[1], seconds])
            return {"products": found}

        return Prepared(run)


def of_integers(task: Task) -> Callable[[], dict[str, Any]]:
    """The products of integers that are exact here, one by one, with the scales of the outputs."""
    products, generator = [each for each in available() if is_exact(each)], np.random.default_rng(0)
    cases = []
    for m, k, n in products_of(task):
        rows, matrix = (generator.integers(-127, 128, size, np.int8) for size in ((m, k), (k, n)))
        cases.append((tf.constant(rows), tf.constant(matrix), tf.ones(n)))
    ways = {each: tf.function(each.multiply, jit_compile=each.compiled) for each in products}

    def run() -> dict[str, Any]:
        found: list[list[Any]] = []
        for product, way in ways.items():
            for case in cases:
                sizes = (*case[0].shape, case[1].shape[1])
                seconds = min(timed(way, *case) for _ in range(TRIES))
                found.append([f"int8, {product.name}", *sizes, seconds])
        return {"products": found}

    run()  # makes the graphs
    return run


def graph_of(weight: tf.Variable) -> Callable[[tf.Tensor], tf.Tensor]:
    """A product with its bias, which a graph makes one operation of."""
    bias = tf.Variable(tf.zeros(weight.shape[1]))
    return tf.function(lambda x: tf.nn.bias_add(tf.matmul(x, weight), bias))


def timed(way: Callable[..., Any], *given: tf.Tensor) -> float:
    """Seconds of one call, to its end."""
    start = time.perf_counter()
    way(*given)
    return time.perf_counter() - start


def streaming(task: Task) -> dict[str, Any]:
    """GB/s of weights at one row, through all layers in turn, so that no cache holds them.

    Beside them the same as one graph, and of int8 as the encoder calls its layers.
    """
    cases = [
        (tf.random.normal((1, k)), tf.Variable(tf.random.normal((k, n))))
        for (_, k, n), count in products_of(task).items()
        for _ in range(count)
    ]
    size = sum(4 * int(weight.shape[0]) * int(weight.shape[1]) for _, weight in cases)
    graph = tf.function(lambda: tf.add_n([tf.reduce_sum(tf.matmul(x, w)) for x, w in cases]))
    layers = graph_of_int8(task)
    seconds: dict[str, float] = {}
    for _ in range(TRIES + 1):
        once = {
            "tf.matmul": sum(timed(lambda x, w=weight: tf.matmul(x, w), x) for x, weight in cases),
            "tf.matmul in a graph": timed(graph),
            "int8, of float32's bytes, in a graph": timed(layers),
        }
        seconds = {name: min(found, seconds.get(name, found)) for name, found in once.items()}
    return {"figures": {name: size / found / 1e9 for name, found in seconds.items()}}


def in_turn(task: Task) -> dict[str, Any]:
    """Of a decoder's step: all its matrices in turn, so that no cache holds them, in one graph."""
    cases = [
        (tf.random.normal((m, k)), tf.Variable(tf.random.normal((k, n))))
        for (m, k, n), count in products_of(task).items()
        for _ in range(count)
    ]
    graph = tf.function(lambda: tf.add_n([tf.reduce_sum(tf.matmul(x, w)) for x, w in cases]))
    seconds = min(timed(graph) for _ in range(TRIES + 1))  # the first makes the graph
    return {"products": by_size(task, "tf.matmul in a graph", seconds)}


def graph_of_int8(task: Task) -> Callable[[], tf.Tensor]:
    """All layers of int8 at one row; queries, keys and values share the rounding of their input."""
    width = task.shape.emb_dim
    sizes = [*[(width, width)] * 4, (width, 4 * width), (4 * width, width)]
    encoder = [[int8_layer(*size) for size in sizes] for _ in range(task.shape.n_layers)]
    x = tf.random.normal((1, width))

    def call() -> tf.Tensor:
        found = []
        for *query_key_value, out, first, second in encoder:
            found += [*linears(query_key_value, x), *linears([out], x)]
            y = feed_forward(first, second, x, "relu")
            found.append(second(tf.nn.relu(first(x))) if y is None else y)
        return tf.add_n([tf.reduce_sum(each) for each in found])

    return tf.function(call)


def int8_layer(inputs: int, outputs: int) -> QuantizedLinear:
    """Of random weights."""
    layer = Linear(inputs, outputs)
    layer.build()
    layer.kernel.assign(tf.random.normal((inputs, outputs)))
    return QuantizedLinear(layer)


def rounding(task: Task) -> dict[str, float]:
    """Difference from float64, relative to the product's size: root mean squares."""
    found = {}
    for m, k, n in narrow(products_of(task)):
        x, weight = tf.random.normal((m, k)), tf.random.normal((k, n))
        exact = tf.matmul(tf.cast(x, tf.float64), tf.cast(weight, tf.float64))
        difference = tf.cast(tf.matmul(x, weight), tf.float64) - exact
        found[f"tf.matmul, {k} inputs"] = float(tf.norm(difference) / tf.norm(exact))
    return found


SIDE = ProductsSide
