"""Training: dropout, gradient checkpointing, the padding row, a few steps by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_all_close, assert_close_to_largest, assert_equal
from tests.support.tf_internals import note_fast_layers
from tests.tf.helpers import (
    FLAGS,
    HEADS,
    dataset,
    fixed_seed,
    results,
    tiny_batch,
    tiny_labels,
    tiny_model,
)
from xlm_core.weights import ARCHITECTURES
from xlm_tf.layers import dropout

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0}


def _main(output: Any) -> Array:
    names = ("last_hidden_state", "logits", "start_logits", "start_top_log_probs")
    return as_array(next(output[name] for name in names if name in output))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_acts_in_training_only(architecture: str) -> None:
    model, batch = tiny_model(architecture, dropout=0.5), tiny_batch(architecture)
    expected = _main(model(batch))
    assert_equal(_main(model(batch)), expected)
    assert_equal(_main(model(batch, training=False)), expected)
    fixed_seed(model)
    first, second = (_main(model(batch, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, expected)
    fixed_seed(model)
    assert_equal(_main(model(batch, training=True)), first)


def test_dropout_by_hand() -> None:
    x = tf.ones((200, 300), tf.float64)
    seed = tf.constant([1, 2], tf.int64)
    for rate in (0.1, 0.5, 0.9):
        dropped = dropout(x, rate, seed, site=0)
        kept = as_array(dropped != 0)
        assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
        assert_close_to_largest(
            tf.boolean_mask(dropped, kept), np.full(kept.sum(), 1 / (1 - rate)), 1e-7
        )
        # Rows and columns are alike: no part of the tensor is spared.
        assert np.abs(kept.mean(0) - (1 - rate)).max() < 0.2
        assert np.abs(kept.mean(1) - (1 - rate)).max() < 0.2
    assert dropout(x, 0.5, None, site=0) is x
    assert dropout(x, 0.0, seed, site=0) is x
    other_site = dropout(x, 0.5, seed, site=1)
    agree = tf.reduce_mean(
        tf.cast((other_site != 0) == (dropout(x, 0.5, seed, 0) != 0), tf.float64)
    )
    assert 0.48 < float(agree) < 0.52


def test_rates_of_each_dropout() -> None:
    def hidden(values: dict[str, float], training: bool) -> Array:
        model = tiny_model(**values)
        fixed_seed(model)
        return as_array(model(tiny_batch(), training=training).last_hidden_state)

    for values, changed in (
        ({"dropout": 0.0, "attention_dropout": 0.0}, False),
        ({"dropout": 0.5, "attention_dropout": 0.0}, True),
        ({"dropout": 0.0, "attention_dropout": 0.5}, True),
    ):
        assert np.array_equal(hidden(values, True), hidden(values, False)) is not changed
    model = tiny_model(dropout=0.3, attention_dropout=0.0)
    batch = {name: array for name, array in tiny_batch(rows=64).items() if name != "attention_mask"}
    embedded = as_array(model(batch, training=True, **FLAGS).hidden_states[0])
    real = embedded[as_array(batch["input_ids"]) != 2]
    assert abs((real == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / real.size)


def test_attentions_are_those_after_dropout() -> None:
    model = tiny_model(attention_dropout=0.5, dropout=0.0)
    batch = tiny_batch(rows=16)
    batch["attention_mask"] = np.ones_like(batch["attention_mask"])
    plain = model(batch, **FLAGS).attentions[0].numpy()
    weights = model(batch, training=True, **FLAGS).attentions[0].numpy()
    assert (plain > 0).all()
    dropped = weights == 0
    assert abs(dropped.mean() - 0.5) < 5 * np.sqrt(0.25 / dropped.size)
    # Those of the first layer are the plain ones, zeroed or doubled.
    assert_close_to_largest(weights, 2 * plain * ~dropped, 1e-6)


def test_summary_dropouts_act_before_and_after_the_projection() -> None:
    from xlm_tf.classification import SequenceSummary

    config = {"emb_dim": 60, "num_labels": 50, "n_heads": 1}
    hidden, seed = tf.ones((30, 2, 60)), tf.constant([3, 4], tf.int64)
    for first, last in ((0.5, 0.0), (0.0, 0.5)):
        model = tiny_model(**config, summary_first_dropout=first, summary_last_dropout=last)
        summary = SequenceSummary(model.config)
        summary.build()
        summary.summary.bias.assign(np.ones(50))
        zero = float(tf.reduce_mean(tf.cast(summary(hidden, seed=seed) == 0, tf.float32)))
        assert zero == 0 if first else 0.4 < zero < 0.6
        assert bool(tf.reduce_all(summary(hidden) == summary(hidden)))


def _gradients(model: Any, training: bool = True) -> tuple[Array, dict[str, Array]]:
    fixed_seed(model)
    arguments = tiny_batch(model.architecture) | tiny_labels(model.architecture)
    with tf.GradientTape() as tape:
        loss = model(arguments, training=training).loss
    variables = model.trainable_variables
    found = tape.gradient(loss, [variable.value for variable in variables])
    pairs = zip(variables, found, strict=True)
    return loss.numpy(), {v.path: as_array(tf.convert_to_tensor(g)) for v, g in pairs}


@pytest.mark.parametrize("architecture", HEADS)
def test_gradient_checkpointing_changes_neither_loss_nor_gradient(architecture: str) -> None:
    model = tiny_model(architecture, dtype="float64", dropout=0.3, attention_dropout=0.2)
    loss, expected = _gradients(model)
    assert loss != _gradients(model, training=False)[0]
    model.gradient_checkpointing_enable()
    assert model.gradient_checkpointing
    assert model.encoder().gradient_checkpointing
    again, found = _gradients(model)
    assert_close_to_largest(again, loss, 1e-14)
    assert_all_close(found, expected, 1e-13, one_scale=True)
    model.gradient_checkpointing_disable()
    assert_all_close(_gradients(model)[1], expected, 0.0)


def test_gradient_checkpointing_computes_layers_twice(monkeypatch: Any) -> None:
    model = tiny_model("XLMWithLMHeadModel", dtype="float64")
    calls = note_fast_layers(monkeypatch, model.transformer)
    _gradients(model)
    assert calls == [0, 1]
    model.gradient_checkpointing_enable()
    _gradients(model)
    assert calls == [0, 1, 0, 1, 1, 0]
    _gradients(model, training=False)
    assert calls[6:] == [0, 1]  # nothing to save when not training
    with pytest.raises(TypeError, match="'reentrant'"):
        model.gradient_checkpointing_enable(reentrant=True)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


@pytest.mark.parametrize(
    "options",
    [{"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}],
    ids=["xla", "graph", "eager"],
)
def test_gradient_checkpointing_in_fit(options: dict[str, Any]) -> None:
    histories = []
    for recompute in (False, True):
        model = tiny_model("XLMForTokenClassification", n_layers=1, dropout=0.2)
        if recompute:
            model.gradient_checkpointing_enable()
        fixed_seed(model)
        model.compile(keras.optimizers.SGD(0.1), **options)
        data = dataset(tiny_batch() | tiny_labels("XLMForTokenClassification"))
        histories.append(model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"])
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


def test_the_padding_row_gets_no_gradient_from_look_ups() -> None:
    model = tiny_model("XLMForTokenClassification", **NO_DROPOUT)
    batch, labels = tiny_batch(), tiny_labels("XLMForTokenClassification")
    ids = batch["input_ids"]
    ids[2, 3:5] = 2  # padding in the middle of what the mask calls tokens
    batch["attention_mask"][2] = 1
    gradient = _embedding_gradient(model, {**batch, **labels})
    assert (gradient[2] == 0).all()
    used = np.unique(ids[batch["attention_mask"] == 1])
    assert all(np.abs(gradient[row]).sum() > 0 for row in used if row != 2)
    assert (np.delete(gradient, used, 0) == 0).all()
    # As token types, words are looked up too: 0 and 1, and here the padding row.
    types = np.where(ids % 2 == 0, 2, 0)
    gradient = _embedding_gradient(model, {**batch, **labels, "token_type_ids": types})
    assert (gradient[2] == 0).all()
    assert np.abs(gradient[0]).sum() > 0


def _embedding_gradient(model: Any, arguments: dict[str, Array]) -> Array:
    table = model.get_input_embeddings().embeddings
    with tf.GradientTape() as tape:
        loss = model(arguments).loss
    return as_array(tf.convert_to_tensor(tape.gradient(loss, table.value)))


def test_a_tied_padding_row_is_trained_by_the_output_only() -> None:
    batch, labels = tiny_batch(), tiny_labels("XLMWithLMHeadModel")
    tied = tiny_model("XLMWithLMHeadModel", **NO_DROPOUT)
    assert np.abs(_embedding_gradient(tied, {**batch, **labels})[2]).sum() > 0
    untied = tiny_model("XLMWithLMHeadModel", tie_word_embeddings=False, **NO_DROPOUT)
    assert (_embedding_gradient(untied, {**batch, **labels})[2] == 0).all()


@pytest.mark.parametrize("architecture", HEADS)
def test_a_few_steps_by_hand_lower_the_loss(architecture: str) -> None:
    model = tiny_model(architecture, n_layers=1, **NO_DROPOUT)
    arguments = tiny_batch(architecture) | tiny_labels(architecture)
    optimizer = keras.optimizers.SGD(0.1)
    losses = []
    for _ in range(8):
        with tf.GradientTape() as tape:
            loss = model(arguments, training=True).loss
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]


def test_training_leaves_the_arguments_as_they_are() -> None:
    model = tiny_model("XLMWithLMHeadModel")
    arguments = tiny_batch() | tiny_labels("XLMWithLMHeadModel")
    before = {name: array.copy() for name, array in arguments.items()}
    results(model(arguments, training=True))
    for name, array in before.items():
        assert_equal(arguments[name], array, name)
