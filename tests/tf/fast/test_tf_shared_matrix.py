"""The matrix that is both the word embeddings and the output: one gradient, of every use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import as_array, assert_all_close, assert_close_to_largest, assert_equal
from tests.support.tf_fast_paths import (
    operations,
    outputs_and_gradients,
    plainly,
    small_batch,
    small_model,
    unknown_sizes,
)
from tests.support.tf_internals import look_up_shared, set_logits_limits
from tests.tf.helpers import tensors
from xlm_tf.layers import Embedding

BATCH = small_batch(labels=True)


def _random(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


USES = ["plain", "inputs_embeds", "token types", "beside", "logits", "two calls", "no output"]


def _gradients(model: Any, given: dict[str, tf.Tensor], uses: str) -> dict[str, tf.Tensor]:
    """Where the embeddings are used in more places than two."""
    table = model.transformer.embeddings.embeddings
    variables = {v.path: v.value for v in model.trainable_variables}
    given = dict(given)
    with tf.GradientTape() as tape:
        if uses == "inputs_embeds":
            given["inputs_embeds"] = model.transformer.embeddings(given.pop("input_ids"))
        elif uses == "token types":  # some of padding's row, which look-ups do not train
            given["token_type_ids"] = given["langs"]
        output = model(given, output_logits=uses == "logits", output_hidden_states=True)
        objective = output.loss
        if uses == "beside":
            objective += tf.reduce_sum(tf.square(tf.convert_to_tensor(table)))
        elif uses == "logits":
            objective += tf.reduce_sum(tf.tanh(output.logits))
        elif uses == "two calls":
            objective += model({**given, "labels": given["input_ids"]}, output_logits=False).loss
        elif uses == "no output":
            objective = tf.reduce_sum(tf.sin(output.hidden_states[1]))
    found = tape.gradient(objective, variables)
    return {n: tf.convert_to_tensor(g) for n, g in found.items() if g is not None}


@pytest.mark.parametrize(
    ("uses", "parts"), [*((uses, True) for uses in USES), ("plain", False), ("no output", False)]
)
def test_every_use_of_the_embeddings_is_trained(
    monkeypatch: pytest.MonkeyPatch, uses: str, parts: bool
) -> None:
    """And none is written to: a graph that runs again gives the same."""
    model = small_model(n_layers=1)
    with plainly(True):
        expected = _gradients(model, tensors(BATCH), uses)
    if parts:
        set_logits_limits(monkeypatch, kept=0, part=8 * 7 * 15)
    function = unknown_sizes(lambda given: _gradients(model, given, uses), BATCH)
    for _ in range(3):
        found = function(tensors(BATCH))
        if uses == "no output":  # zeros, or none
            found = {name: value for name, value in found.items() if name in expected}
        assert_all_close(found, expected, 1e-12, one_scale=True)


def test_the_shared_matrix_has_one_dense_gradient() -> None:
    """Rows that were looked up are added to the output's gradient, and nothing is made dense."""
    model = small_model(n_layers=1)

    def gradient(given: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model(given, output_logits=False).loss
        found = tape.gradient(loss, model.transformer.embeddings.embeddings.value)
        assert isinstance(found, tf.Tensor)
        return found

    function = unknown_sizes(gradient, BATCH)
    concrete = function.get_concrete_function()
    assert "ScatterNdNonAliasingAdd" in operations(concrete)
    # This is how rows are made dense: those of the other embeddings, not words.
    dense = [op for op in concrete.graph.get_operations() if op.type == "UnsortedSegmentSum"]
    sizes = {int(tf.get_static_value(op.inputs[2])) for op in dense}
    assert sizes == {model.config.max_position_embeddings, model.config.n_langs}
    expected = outputs_and_gradients(model, BATCH, plain=True)
    name = f"gradient of {model.transformer.embeddings.embeddings.path}"
    assert_close_to_largest(function(tensors(BATCH)), expected[name], 1e-12)


def test_two_gradients_of_one_graph() -> None:
    """What both are made of is written to by neither."""
    model, batch = small_model(n_layers=1), tensors(BATCH)
    table = model.transformer.embeddings.embeddings

    def gradients(given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            loss = model(given, output_logits=False).loss
            more = loss + tf.reduce_sum(tf.square(tf.convert_to_tensor(table)))
        found = {"loss": tape.gradient(loss, table.value), "more": tape.gradient(more, table.value)}
        return {name: tf.convert_to_tensor(value) for name, value in found.items()}

    function = tf.function(gradients)
    with plainly(True):
        expected = gradients(batch)
    for _ in range(2):
        assert_all_close(function(batch), expected, 1e-12)


def test_embedding_reads_the_shared_matrix() -> None:
    """Where the layer is the library's own; a replaced one is called as it is."""

    class Other(Embedding):
        def call(self, ids: tf.Tensor) -> tf.Tensor:
            return 2 * super().call(ids)

    ids = tf.constant([[3, 1], [4, 4]])
    for kind, factor in ((Embedding, 1), (Other, 2)):
        layer = kind(7, 3, padding_index=1, dtype="float64")
        layer.build()
        layer.embeddings.assign(_random(7, 3))
        weight = tf.convert_to_tensor(layer.embeddings)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(weight)
            rows, output, later = look_up_shared(layer, ids, weight)
            total = tf.reduce_sum(rows**2) + tf.reduce_sum(output)
        assert_equal(rows, factor * as_array(weight)[as_array(ids)])
        expected = np.ones((7, 3))
        if kind is Embedding:  # the padding row is not trained by look-ups
            for word, times in ((3, 1), (4, 2)):
                expected[word] += times * 2 * as_array(weight)[word]
        assert_close_to_largest(tf.convert_to_tensor(tape.gradient(total, weight)), expected, 1e-14)
    assert_equal(later, layer(ids))  # no longer


@pytest.mark.parametrize("shared", [False, True])
def test_rows_of_many_tokens_are_summed_in_float32(shared: bool) -> None:
    """A language's row is the sum over all tokens of a batch: bfloat16 would lose most of it."""
    layer = Embedding(3, 4, dtype="mixed_bfloat16")
    layer.build()
    table = layer.embeddings.value
    ids = tf.ones((8, 512), tf.int64)
    upstream = tf.cast(0.1 + _random(8, 512, 4), tf.bfloat16)
    with tf.GradientTape() as tape:
        weight = tf.cast(table, tf.bfloat16)
        rows = look_up_shared(layer, ids, weight)[0] if shared else layer(ids)
        total = tf.reduce_sum(tf.cast(rows * upstream, tf.float32))
    found = tf.convert_to_tensor(tape.gradient(total, table))
    expected = np.zeros((3, 4))
    expected[1] = as_array(tf.cast(upstream, tf.float64)).sum((0, 1))
    assert_close_to_largest(tf.cast(found, tf.float64), expected, 2**-8)
