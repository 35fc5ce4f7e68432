"""Resizing the vocabulary, in the output layer as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import as_array, assert_all_close, assert_equal
from tests.tf.helpers import ADAPTIVE, dataset, states, tiny_batch, tiny_labels, tiny_model
from xlm_core import CheckpointError, ConfigError
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

TIED = pytest.mark.parametrize("tied", [True, False])
LM = "XLMWithLMHeadModel"


@TIED
@pytest.mark.parametrize("size", [20, 49, 51, 70])
def test_old_rows_stay_and_the_bias_follows(tied: bool, size: int) -> None:
    model = tiny_model(LM, tie_word_embeddings=tied)
    old = states(model)
    returned = model.resize_token_embeddings(size)
    assert returned is model.get_input_embeddings() is model.transformer.embeddings
    assert model.config.vocab_size == returned.embeddings.shape[0] == size
    new, kept = states(model), min(size, 50)
    assert new.keys() == old.keys()
    for path, array in new.items():
        if old[path].shape == array.shape:
            assert_equal(array, old[path], path)
        else:
            assert array.shape == (size, *old[path].shape[1:])
            assert_equal(array[:kept], old[path][:kept], path)
    assert (new["pred_layer.proj.bias"][kept:] == 0).all()
    if size > 55:
        assert 0.5 < new["embeddings.weight"][50:].std() < 2
    ids = np.random.default_rng(0).integers(6, 20, (2, 5))
    logits = model(ids, langs=0 * ids).logits
    assert logits.shape == (2, 5, size)
    last = model(np.full((1, 3), size - 1), langs=np.zeros((1, 3), int))
    assert np.isfinite(last.logits.numpy()).all()


@TIED
def test_logits_of_old_words_do_not_change(tied: bool) -> None:
    model, batch = tiny_model(LM, tie_word_embeddings=tied), tiny_batch()
    before = model(batch).logits
    model.resize_token_embeddings(80)
    np.testing.assert_allclose(model(batch).logits[..., :50], before, atol=1e-5)
    assert model(batch, labels=np.full((4, 9), 79)).loss > 0


@TIED
def test_gradients_reach_the_new_rows(tied: bool) -> None:
    model = tiny_model(LM, tie_word_embeddings=tied)
    model.resize_token_embeddings(60)
    ids = np.random.default_rng(0).integers(50, 60, (2, 5))
    with tf.GradientTape() as tape:
        loss = model(ids, langs=0 * ids, labels=ids).loss
    table = model.get_input_embeddings().embeddings
    assert any(variable is table for variable in model.trainable_variables)
    gradient = as_array(tf.convert_to_tensor(tape.gradient(loss, table.value)))
    assert np.abs(gradient[50:]).sum() > 0


def test_resizing_keeps_dtype_and_pads_to_a_multiple() -> None:
    model = tiny_model(LM, dtype="float64")
    assert model.resize_token_embeddings(54, pad_to_multiple_of=8).embeddings.shape == (56, 12)
    assert model.resize_token_embeddings(pad_to_multiple_of=10).embeddings.shape == (60, 12)
    assert model.resize_token_embeddings().embeddings.shape == (60, 12)
    assert {variable.dtype for variable in model.trainable_variables} == {"float64"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_resizes_saves_and_opens(architecture: str, tmp_path: Any) -> None:
    model = tiny_model(architecture)
    count = len(model.weights)
    model.resize_token_embeddings(61)
    assert len(model.weights) == count
    model.save_pretrained(tmp_path)
    again = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    assert again.config.vocab_size == 61
    assert_all_close(states(again), states(model), 0.0)


def test_impossible_sizes() -> None:
    for size in (-3, 2):  # the padding row must stay inside
        model = tiny_model(LM)
        with pytest.raises(ConfigError, match="vocab_size"):
            model.resize_token_embeddings(size)
        assert model.config.vocab_size == 50
        assert model.get_input_embeddings().embeddings.shape == (50, 12)
    adaptive = tiny_model(LM, **ADAPTIVE)
    with pytest.raises(ConfigError, match="adaptive softmax cannot be resized"):
        adaptive.resize_token_embeddings(60)


@TIED
def test_a_resized_model_trains_and_predicts_anew(tied: bool) -> None:
    model = tiny_model(LM, n_layers=1, tie_word_embeddings=tied, dropout=0.0, attention_dropout=0.0)
    batch, labels = tiny_batch(), tiny_labels(LM)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    model.fit(dataset(batch | labels), verbose=0, shuffle=False)
    assert model.predict(batch, verbose=0)["logits"].shape == (4, 9, 50)
    model.resize_token_embeddings(70)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    labels["labels"][:, 1] = 69
    before = states(model)
    losses = model.fit(dataset(batch | labels), epochs=3, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < losses[0]
    after = states(model)
    assert all(not np.array_equal(after[path], before[path]) for path in (
        "embeddings.weight", "pred_layer.proj.bias"))  # fmt: skip
    assert model.predict(batch, verbose=0)["logits"].shape == (4, 9, 70)


def test_a_frozen_table_stays_frozen() -> None:
    model = tiny_model(LM)
    model.transformer.embeddings.trainable = False
    model.resize_token_embeddings(60)
    table = model.transformer.embeddings.embeddings
    assert not any(variable is table for variable in model.trainable_variables)
    model.trainable = False
    model.resize_token_embeddings(64)
    assert not model.trainable_variables


def test_tied_parameters_are_counted_and_trained_once() -> None:
    tied, untied = (tiny_model(LM, tie_word_embeddings=value) for value in (True, False))
    assert untied.num_parameters() - tied.num_parameters() == 50 * 12
    assert len(untied.trainable_variables) == len(tied.trainable_variables) + 1
    table, batch = tied.transformer.embeddings.embeddings, tiny_batch()
    before = tied(batch).logits
    table.assign(table * 2)
    assert not np.array_equal(tied(batch).logits, before)


def test_only_language_models_have_an_output_layer() -> None:
    models = [tiny_model(architecture) for architecture in ARCHITECTURES]
    with_output = [m.architecture for m in models if m.get_output_embeddings() is not None]
    assert with_output == [LM]


def test_sinusoidal_positions_are_never_trained() -> None:
    model = tiny_model(sinusoidal_embeddings=True)
    model.resize_token_embeddings(60)
    assert not model.position_embeddings.embeddings.trainable
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - 20 * 12


def test_resizing_through_the_encoder_says_what_to_call(tmp_path: Path) -> None:
    model, batch = tiny_model(LM), tiny_batch()
    model.transformer.resize_token_embeddings(66)
    for step in (lambda: model(batch), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ConfigError, match=r"call resize_token_embeddings\(66\) of the model"):
            step()
    model.resize_token_embeddings(66)
    assert model(batch, labels=np.full((4, 9), 65)).logits.shape == (4, 9, 66)
    model.save_pretrained(tmp_path)
    opened = MODEL_CLASSES[LM].from_pretrained(tmp_path)
    assert_equal(opened(batch).logits.numpy(), model(batch).logits.numpy(), "logits")


@TIED
def test_embeddings_replaced_in_the_encoder(tied: bool, tmp_path: Path) -> None:
    model, batch = tiny_model(LM, tie_word_embeddings=tied), tiny_batch()
    table = np.random.default_rng(3).normal(size=(50, 12)).astype(np.float32)
    model.transformer.set_input_embeddings(table)
    scores = model(batch).logits.numpy()
    hidden = model.transformer(batch).last_hidden_state.numpy()
    matrix = table.T if tied else model.pred_layer.proj.kernel.numpy()
    np.testing.assert_allclose(scores, hidden @ matrix + model.pred_layer.proj.bias, atol=1e-4)
    model.save_pretrained(tmp_path)
    opened = MODEL_CLASSES[LM].from_pretrained(tmp_path)
    assert_equal(opened(batch).logits.numpy(), scores, "logits")
    model.transformer.embeddings.create("embeddings", (66, 12))
    for step in (lambda: model(batch), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ConfigError, match=r"resize_token_embeddings\(66\) of the whole model"):
            step()
    model.resize_token_embeddings(66)
    assert model(batch).logits.shape == (4, 9, 66)


class _Rows(keras.layers.Layer):
    """Something that looks rows up, and has no matrix of the usual name."""

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(ids, 12)


def test_a_layer_without_a_matrix_in_place_of_the_embeddings(tmp_path: Path) -> None:
    batch, head = tiny_batch(), tiny_model("XLMForTokenClassification")
    for model in (head, tiny_model(LM, tie_word_embeddings=False), tiny_model(LM)):
        model.transformer._tracker.unlock()
        model.transformer.embeddings = _Rows()
        if model.config.ties_output and model.architecture == LM:
            with pytest.raises(ConfigError, match="_Rows without embeddings, the matrix that"):
                model(batch)
        else:
            assert model(batch).logits.shape[:2] == (4, 9)
            with pytest.raises(CheckpointError, match=r"embeddings.weight: a _Rows stands in"):
                model.save_pretrained(tmp_path)


def test_another_output() -> None:
    model, batch = tiny_model(LM, tie_word_embeddings=False), tiny_batch()
    dense = keras.layers.Dense(50)
    dense.build((None, 12))
    model.set_output_embeddings(dense)
    hidden = model.transformer(batch).last_hidden_state
    np.testing.assert_allclose(model(batch).logits, dense(hidden), atol=1e-5)
    model.set_output_embeddings(model.get_output_embeddings())
    for other, words in (
        (tiny_model(LM), "tie_word_embeddings is True"),
        (tiny_model("XLMModel"), "has no output embeddings"),
    ):
        with pytest.raises(ConfigError, match=words):
            other.set_output_embeddings(dense)
    tied = tiny_model(LM)
    tied.set_output_embeddings(tied.get_output_embeddings())
    model.config.tie_word_embeddings = True
    with pytest.raises(ConfigError, match="made with an output matrix of its own"):
        model(batch)


def test_new_rows_around_the_mean() -> None:
    model = tiny_model(LM, tie_word_embeddings=False)
    old = states(model)
    model.resize_token_embeddings(200, mean_resizing=True)
    for path in ("embeddings.weight", "pred_layer.proj.weight", "pred_layer.proj.bias"):
        new = states(model)[path]
        np.testing.assert_allclose(
            new[50:], np.broadcast_to(old[path].mean(0), new[50:].shape), atol=1e-3
        )
        assert_equal(new[:50], old[path], path)


def test_what_transformers_models_say_of_themselves() -> None:
    model = tiny_model(LM, sinusoidal_embeddings=True)
    tables = 50 * 12 + 20 * 12 + 4 * 12
    assert model.num_parameters() - model.num_parameters(exclude_embeddings=True) == tables
    assert model.get_memory_footprint() >= 4 * model.num_parameters()
    assert (model.main_input_name, model.config_class) == ("input_ids", type(model.config))
    assert model.name_or_path == ""
    for name in ARCHITECTURES:
        assert tiny_model(name)(tiny_model(name).dummy_inputs) is not None
    other = tiny_model()
    other.prune_heads({-1: [0], 0: [2]})
    assert other.config.pruned_heads == {0: [2], 1: [0]}
    with pytest.raises(ConfigError):
        other.prune_heads({-3: [0]})
