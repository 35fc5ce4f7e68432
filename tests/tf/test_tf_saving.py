"""Keras' own files, .keras and .weights.h5: every head comes back, bit for bit."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import assert_all_close, assert_equal
from tests.tf.helpers import (
    ADAPTIVE,
    FLAGS,
    dataset,
    results,
    states,
    tiny_batch,
    tiny_labels,
    tiny_model,
)
from xlm_core import XLMWarning
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

# Keras' own business with numpy 2, in its writer of weights.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)
PRUNED = {0: [1], 1: [0, 2]}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "untied": {"tie_word_embeddings": False},
    "adaptive": {**ADAPTIVE, "tie_word_embeddings": False},
    "sinusoidal": {"sinusoidal_embeddings": True, "causal": True},
    "one language": {"n_langs": 1, "gelu_activation": False},
    "labels": {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}, "extra_key": 3},
}


def _outputs(model: Any) -> dict[str, Any]:
    batch = tiny_batch(model.architecture)
    if not model.config.has_lang_embeddings:
        del batch["langs"]
    return results(model(batch, **FLAGS))


def _through_keras(model: Any, folder: Path) -> Any:
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def _same(again: Any, model: Any) -> None:
    assert type(again) is type(model)
    assert again is not model
    assert again.config == model.config
    assert again.name == model.name
    assert_all_close(states(again), states(model), 0.0)
    assert_all_close(_outputs(again), _outputs(model), 0.0)


@EACH
def test_keras_file(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    _same(_through_keras(model, tmp_path), model)


@EACH
def test_weights_file(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    model.save_weights(tmp_path / "model.weights.h5")
    again = MODEL_CLASSES[architecture](model.config.copy(), name=model.name)
    again.load_weights(tmp_path / "model.weights.h5")
    _same(again, model)


@pytest.mark.parametrize(
    ("architecture", "values"),
    [*((architecture, {}) for architecture in ARCHITECTURES), ("XLMWithLMHeadModel", ADAPTIVE)],
)
def test_a_checkpoint_of_tensorflow(
    architecture: str, values: dict[str, Any], tmp_path: Path
) -> None:
    """Whole: Keras' own layers would leave out what stands in lists, and the state of dropout."""
    model = tiny_model(architecture, **values)
    model.prune_heads(PRUNED)
    model(tiny_batch(architecture), training=True)
    path = tf.train.Checkpoint(model=model).save(tmp_path / "state")
    again = MODEL_CLASSES[architecture](model.config.copy(), name=model.name)
    tf.train.Checkpoint(model=again).restore(path).assert_consumed()
    _same(again, model)
    for one, other in zip(again.variables, model.variables, strict=True):
        assert_equal(one, other)
    larger = MODEL_CLASSES[architecture](model.config.copy(n_layers=3))
    with pytest.raises(AssertionError):
        tf.train.Checkpoint(model=larger).restore(path).assert_existing_objects_matched()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_other_configurations(name: str, tmp_path: Path) -> None:
    model = tiny_model("XLMWithLMHeadModel", **CONFIGURATIONS[name])
    again = _through_keras(model, tmp_path)
    _same(again, model)
    table = again.transformer.position_embeddings.embeddings
    assert table.trainable is not model.config.sinusoidal_embeddings


@EACH
def test_pruned_and_resized(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    model.prune_heads(PRUNED)
    model.resize_token_embeddings(57)
    again = _through_keras(model, tmp_path)
    assert again.config.pruned_heads == PRUNED
    _same(again, model)
    model.save_weights(tmp_path / "model.weights.h5")
    empty = MODEL_CLASSES[architecture](model.config.copy(), name=model.name, initialize=False)
    empty.load_weights(tmp_path / "model.weights.h5")
    _same(empty, model)


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]
)
def test_the_policy_survives(dtype: str, tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", dtype=dtype)
    again = _through_keras(model, tmp_path)
    assert again.dtype_policy == model.dtype_policy == keras.DTypePolicy(dtype)
    assert again.classifier.compute_dtype == model.classifier.compute_dtype
    assert [v.dtype for v in again.weights] == [v.dtype for v in model.weights]
    _same(again, model)


def test_a_compiled_model_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", n_layers=1, dropout=0.0, attention_dropout=0.0)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    data = dataset({**tiny_batch(), **tiny_labels("XLMForTokenClassification")})
    model.fit(data, verbose=0, shuffle=False)
    again = _through_keras(model, tmp_path)
    assert again.optimizer.iterations.numpy() == 2
    histories = [m.fit(data, verbose=0, shuffle=False).history["loss"] for m in (model, again)]
    assert histories[0] == pytest.approx(histories[1], rel=1e-6)
    assert_all_close(states(again), states(model), 1e-6)


def test_frozen_models_come_back_frozen(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification")
    model.trainable = False
    assert not _through_keras(model, tmp_path).trainable_weights


def test_frozen_encoders_come_back_frozen(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification")
    model.transformer.trainable = False
    for again in (_through_keras(model, tmp_path), copy.deepcopy(model)):
        assert len(again.trainable_variables) == len(model.trainable_variables) == 2
        again.transformer.trainable = True
        assert len(again.trainable_variables) > 2


def test_tensors_that_no_file_holds_are_named(tmp_path: Path) -> None:
    """As in PyTorch."""
    model = tiny_model("XLMForTokenClassification")
    state = {**model._arrays(), "extra.weight": np.zeros((2, 3), np.float32)}
    with pytest.warns(XLMWarning, match=r"not saved: extra.weight: no class"):
        model.save_pretrained(tmp_path, state_dict=state)


def test_a_functional_model_over_the_encoder(tmp_path: Path) -> None:
    encoder, batch = tiny_model(), tiny_batch(int_type="int32")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in batch}
    score = keras.layers.Dense(2)(encoder(inputs).last_hidden_state)
    model = keras.Model(inputs, score)
    again = _through_keras(model, tmp_path)
    assert_equal(again(batch), model(batch))


def test_weights_of_another_configuration_are_refused(tmp_path: Path) -> None:
    tiny_model().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match="could not be loaded"):
        tiny_model(vocab_size=51).load_weights(tmp_path / "model.weights.h5")


@EACH
def test_copies(architecture: str) -> None:
    model = tiny_model(architecture)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        _same(again, model)
        assert again.config is again.encoder().config
        assert again.config is not model.config
        table = again.get_input_embeddings().embeddings
        table.assign(0 * table)
        assert np.abs(states(model)["embeddings.weight"]).sum() > 0


def test_outputs_are_copied_too() -> None:
    output = tiny_model("XLMWithLMHeadModel")(tiny_batch(), **FLAGS)
    again = copy.copy(output)
    assert type(again) is type(output)
    assert_all_close(results(again), results(output), 0.0)


def test_configuration_is_plain_data_and_copies_are_independent() -> None:
    model = tiny_model("XLMWithLMHeadModel", dtype="mixed_bfloat16")
    again = type(model).from_config(model.get_config())
    assert again.config == model.config
    assert again.config is not model.config
    assert again.dtype_policy == model.dtype_policy
    clone = keras.models.clone_model(model)
    assert clone.config == model.config
    assert not np.array_equal(
        states(clone)["embeddings.weight"], states(model)["embeddings.weight"]
    )
