"""The products a task consists of, as TensorFlow computes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.speed.protocol import Absent, Prepared, Side
from benchmarks.speed.tasks import Task, narrow, products_of

TRIES = 3


class ProductsSide(Side):
    """float32 only: TensorFlow's bfloat16 on CPUs is no limit to anybody."""

    def version(self) -> str:
        """TensorFlow's."""
        return f"tensorflow {tf.__version__}"

    def prepare(self, task: Task, options: dict[str, Any]) -> Prepared:
        """See `Side`. A run gives what that of `products_torch` gives."""
        if options.get("dtype", "float32") != "float32":
            raise Absent(f"no products in {options['dtype']}")
        if task.kind == "one row":
            return Prepared(lambda: streaming(task))
        if task.kind == "rounding":
            return Prepared(lambda: {"figures": rounding(task)})
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


def graph_of(weight: tf.Variable) -> Callable[[tf.Tensor], tf.Tensor]:
    """A product with its bias, which a graph makes one operation of."""
    bias = tf.Variable(tf.zeros(weight.shape[1]))
    return tf.function(lambda x: tf.nn.bias_add(tf.matmul(x, weight), bias))


def timed(way: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> float:
    """Seconds of one call, to its end."""
    start = time.perf_counter()
    way(x)
    return time.perf_counter() - start


def streaming(task: Task) -> dict[str, Any]:
    """GB/s of weights at one row, through all layers in turn, so that no cache holds them."""
    cases = [
        (tf.random.normal((1, k)), tf.random.normal((k, n)))
        for (_, k, n), count in products_of(task).items()
        for _ in range(count)
    ]
    size = sum(4 * int(weight.shape[0]) * int(weight.shape[1]) for _, weight in cases)
    times = [
        sum(timed(lambda x, w=weight: tf.matmul(x, w), x) for x, weight in cases)
        for _ in range(TRIES)
    ]
    return {"figures": {"tf.matmul": size / min(times) / 1e9}}


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
