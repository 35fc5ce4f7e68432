"""TensorFlow's fast paths on small models: counted, and compared with the plain formulas."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array
from tests.support.tf_internals import graphs_of, smallest_graph_width
from tests.tf.helpers import results, tensors, tiny_model
from xlm_tf import formulas_only

WITHOUT_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0}
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 1, 0], [0] * 6]
)


def compile_every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models of any width run their eager calls as graphs."""
    smallest_graph_width(monkeypatch, 0)


def small_model(architecture: str = "XLMWithLMHeadModel", **values: Any) -> Any:
    """A tiny model in float64, without dropout."""
    return tiny_model(architecture, **{"dtype": "float64", **WITHOUT_DROPOUT, **values})


def small_batch(mask: Array = MASK, *, labels: bool = False) -> dict[str, Array]:
    """input_ids, attention_mask and langs for `small_model`, some labels on padding too."""
    rng = np.random.default_rng(1)
    ids = rng.integers(6, 50, mask.shape)
    batch = {
        "input_ids": np.where(mask != 0, ids, 2),
        "attention_mask": mask,
        "langs": rng.integers(0, 4, mask.shape),
    }
    if labels:
        batch["labels"] = np.where(rng.random(mask.shape) < 0.6, -100, ids)
    return batch


def count_graphs(model: Any) -> int:
    """How many graphs there are for eager calls of `model`, without those of parts of it."""
    return len(graphs_of(model))


def plainly(plain: bool) -> Any:
    """`formulas_only()`, or nothing."""
    return formulas_only() if plain else contextlib.nullcontext()


def outputs_and_gradients(
    model: Any,
    arguments: dict[str, Array],
    *,
    plain: bool = False,
    within: Callable[[Any], Any] | None = None,
    around: Callable[[Any], Any] | None = None,
    **options: Any,
) -> dict[str, Array]:
    """Everything the model returns, and all gradients of its loss, or else of a weighted sum.

    Args:
        model: It.
        arguments: Of its call; floating ones get a gradient too.
        plain: By the formulas alone.
        within: Makes a function a graph: the call, with the tape outside.
        around: The same for call and tape.
        options: Of the call.
    """
    variables = {v.path: v.value for v in model.trainable_variables}
    given = tensors(arguments)

    def call(given: dict[str, tf.Tensor]) -> Any:
        return dict(model(given, **options))

    def both(given: dict[str, tf.Tensor]) -> Any:
        sources = dict(variables)
        sources |= {n: t for n, t in given.items() if t.dtype.is_floating and "mask" not in n}
        with tf.GradientTape() as tape:
            tape.watch([given[name] for name in sources if name in given])
            output = (within or (lambda f: f))(call)(given)
            objective = output.get("loss")
            if objective is None:
                objective = sum(_weighted(value) for value in tf.nest.flatten(output))
        found = tape.gradient(objective, sources)
        dense = {n: tf.convert_to_tensor(g) for n, g in found.items() if g is not None}
        return output, dense

    with plainly(plain):
        output, gradients = (around or (lambda f: f))(both)(given)
    return {
        **results(output),
        **{f"gradient of {name}": as_array(value) for name, value in gradients.items()},
    }


def _weighted(value: tf.Tensor) -> tf.Tensor:
    if not value.dtype.is_floating:
        return tf.zeros((), tf.float64)
    places = tf.cast(tf.range(tf.size(value)) + 1, value.dtype)
    return tf.cast(tf.reduce_sum(value * tf.reshape(tf.sin(places), tf.shape(value))), tf.float64)


def unknown_sizes(function: Callable[..., Any], given: dict[str, Array]) -> Any:
    """`function` of a dictionary like `given`, as a graph that knows no sizes but widths."""
    signature = {}
    for name, array in given.items():
        shape = [None] * array.ndim
        if name == "inputs_embeds":
            shape[-1] = array.shape[-1]
        signature[name] = tf.TensorSpec(shape, array.dtype)
    return tf.function(function, input_signature=[signature])


def operations(function: Any) -> set[str]:
    """The kinds of operations in a concrete function, and in what it calls."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return {node.op for node in nodes}
