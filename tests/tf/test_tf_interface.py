"""The published interface: names, orders, defaults, ways to give input."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import transformers

import xlm_tf
from tests.support.parity import assert_all_close, assert_equal
from tests.tf.helpers import HEADS, results, tensors, tiny_batch, tiny_labels, tiny_model
from xlm_core import InputError
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)


def _arguments(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


@EACH
def test_call_takes_the_arguments_of_the_published_classes_in_order(architecture: str) -> None:
    ours = _arguments(MODEL_CLASSES[architecture].call)
    theirs = getattr(transformers, f"TF{architecture}", None)
    if theirs is not None:
        expected = _arguments(theirs.call)
        if architecture == "XLMWithLMHeadModel":  # which has no loss there
            expected.insert(expected.index("output_attentions"), "labels")
        # Labels stand before the flags, as in the PyTorch classes.
        assert sorted(ours) == sorted(expected)
    in_torch = _arguments(getattr(transformers, architecture).forward)
    assert ours == [n for n in in_torch if n != "cache_position"] + ["training"]
    parameters = inspect.signature(MODEL_CLASSES[architecture].call).parameters
    assert {parameters[name].default for name in ours[1:]} == {None}


@EACH
def test_every_published_class_is_there(architecture: str) -> None:
    model_class = getattr(xlm_tf, f"TF{architecture}")
    assert MODEL_CLASSES[architecture] is model_class
    assert model_class.architecture == architecture
    assert model_class.__name__ == f"TF{architecture}"


@EACH
@pytest.mark.parametrize("int_type", ["int32", "int64"])
def test_keywords_positions_and_dictionaries_of_arrays_and_tensors(
    architecture: str, int_type: str
) -> None:
    model = tiny_model(architecture)
    arrays = tiny_batch(architecture, rows=2)
    expected = results(model(**arrays))
    batch = {name: array.astype(int_type) for name, array in arrays.items()}
    given = tensors(batch)
    rest = {name: given[name] for name in ("attention_mask", "langs")}
    for output in (
        model(**batch),
        model(**given),
        model(batch),
        model(given),
        model(*given.values()),
        model(given["input_ids"], **rest),
        model({"input_ids": given["input_ids"]}, **rest),
        model(given, training=False),
    ):
        assert_all_close(results(output), expected, 0.0)
    assert given.keys() == batch.keys(), "the caller's dictionary was changed"


def test_positional_arguments_of_every_kind() -> None:
    model = tiny_model("XLMWithLMHeadModel")
    batch = tensors(tiny_batch())
    ids, mask, langs = batch.values()
    labels = tf.constant(tiny_labels("XLMWithLMHeadModel")["labels"])
    given = (
        ids,
        mask,
        langs,
        langs,
        langs + 1,
        tf.reduce_sum(mask, 1),
        None,
        tf.ones(3),
        None,
        labels,
    )
    names = _arguments(MODEL_CLASSES["XLMWithLMHeadModel"].call)[1:11]
    assert model(*given).loss == model(**dict(zip(names, given, strict=True))).loss


def test_an_argument_given_twice_is_refused() -> None:
    model, batch = tiny_model(), tensors(tiny_batch())
    with pytest.raises(InputError, match="in a dictionary and beside it: attention_mask, langs"):
        model(batch, attention_mask=batch["attention_mask"], langs=batch["langs"])
    with pytest.raises(InputError, match="in a dictionary and beside it"):
        model({"input_ids": batch["input_ids"]}, batch["attention_mask"])
    model(batch, position_ids=None, langs=None)  # None is not given


@EACH
def test_labels_may_be_anywhere(architecture: str) -> None:
    model, batch = tiny_model(architecture), tiny_batch(architecture)
    labels = tiny_labels(architecture)
    expected = results(model(**batch, **labels))
    assert ("loss" in expected) is bool(labels)
    assert_all_close(results(model({**batch, **labels})), expected, 0.0)
    assert_all_close(results(model(batch, **labels)), expected, 0.0)


@EACH
def test_functional_models(architecture: str) -> None:
    model = tiny_model(architecture, dtype="float64")
    batch = tiny_batch(architecture, int_type="int32")
    inputs = {
        name: keras.Input(array.shape[1:], dtype="int32", name=name)
        for name, array in batch.items()
    }
    expected = results(model(batch))
    for output in (model(inputs), model(**inputs)):
        functional = keras.Model(inputs, dict(output))
        assert_all_close(results(functional(batch)), expected, 0.0)
    assert_all_close(functional.predict(batch, verbose=0), expected, 1e-12)


def test_a_functional_model_with_layers_of_ones_own() -> None:
    encoder, batch = tiny_model(), tiny_batch(int_type="int32")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in batch}
    hidden = encoder(inputs).last_hidden_state
    assert hidden.shape == (None, None, 12)
    score = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(hidden))
    model = keras.Model(inputs, score)
    count = len(encoder.trainable_weights)
    assert len(model.trainable_weights) == count + 2
    model.compile("sgd", loss="mse")
    before = encoder.attentions[0].q_lin.kernel.numpy()
    model.fit(batch, np.ones((4, 1)), verbose=0)
    assert not np.array_equal(before, encoder.attentions[0].q_lin.kernel.numpy())


@EACH
def test_defaults_of_flags_come_from_the_configuration(architecture: str) -> None:
    model = tiny_model(architecture, output_attentions=True, output_hidden_states=True)
    batch = tiny_batch(architecture)
    output = model(batch)
    assert len(output.hidden_states) == 3
    assert len(output.attentions) == 2
    silent = model(batch, output_attentions=False, output_hidden_states=False)
    assert silent.hidden_states is None
    assert silent.attentions is None
    model.config.return_dict = False
    as_tuple = model(batch, output_attentions=False)
    assert isinstance(as_tuple, tuple)
    assert_equal(as_tuple[0], output.to_tuple()[0])
    assert not isinstance(model(batch, return_dict=True), tuple)


def test_masks_of_any_dtype_are_one() -> None:
    model, batch = tiny_model(), tiny_batch()
    expected = model(batch).last_hidden_state
    for dtype in ("bool", "uint8", "int8", "int32", "float16", "float32", "float64"):
        mask = batch["attention_mask"].astype(dtype)
        assert_equal(model({**batch, "attention_mask": mask}).last_hidden_state, expected, dtype)


@pytest.mark.parametrize("width", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
def test_integers_of_any_width_are_one(width: str) -> None:
    model = tiny_model("XLMForTokenClassification")
    batch = tiny_batch()
    places = {"position_ids": batch["langs"], "token_type_ids": batch["langs"] + 3}
    labels = {"labels": batch["langs"] % 2}
    expected = results(model(**batch, **places, **labels))
    arrays = {n: a.astype(width) for n, a in (batch | places | labels).items()}
    assert_all_close(results(model(arrays)), expected, 0.0)
    lengths = np.array([9, 4, 1, 9])
    by_length = {"input_ids": arrays["input_ids"], "langs": arrays["langs"]}
    assert_equal(
        model(by_length, lengths=lengths.astype(width)).logits,
        model(by_length, lengths=lengths).logits,
    )


@pytest.mark.parametrize("architecture", HEADS)
def test_the_model_is_a_keras_model_through_and_through(architecture: str) -> None:
    model = tiny_model(architecture)
    specs = [spec for spec in model.tensor_specs() if spec.tied_to is None]
    paths = [variable.path for variable in model.weights if "seed" not in variable.path]
    assert len(paths) == len(set(paths)) == len(specs)
    assert model.built
    assert model.num_parameters() == model.count_params()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "transformer" in "\n".join(lines)
