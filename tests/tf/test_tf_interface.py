"""The published interface: names, orders, defaults, ways to give input; importing sets nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import transformers

import xlm_tf
from tests.support.parity import assert_all_close, assert_equal
from tests.support.shared import ROOT
from tests.tf.helpers import HEADS, results, tensors, tiny_batch, tiny_labels, tiny_model
from xlm_core import InputError
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)


def _arguments(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]


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
        model(inputs := dict(given), training=False),
        model({**inputs, "training": False}),
    ):
        assert_all_close(results(output), expected, 0.0)
    assert inputs.keys() == given.keys()


def test_positional_arguments_of_every_kind() -> None:
    model = tiny_model("XLMWithLMHeadModel")
    batch = tensors(tiny_batch())
    ids, mask, langs = batch.values()
    labels = tf.constant(tiny_labels("XLMWithLMHeadModel")["labels"])
    given = (ids, mask, langs, langs, langs + 1, tf.reduce_sum(mask, 1), None, tf.ones(3), None, labels)
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
    assert_all_close(results(model(labels, **batch)), expected, 0.0)


@EACH
def test_functional_models(architecture: str) -> None:
    model, batch = tiny_model(architecture), tiny_batch(architecture, int_type="int32")
    inputs = {
        name: keras.Input(array.shape[1:], dtype="int32", name=name)
        for name, array in batch.items()
    }
    expected = results(model(batch))
    for output in (model(inputs), model(**inputs)):
        functional = keras.Model(inputs, dict(output))
        assert_all_close(results(functional(batch)), expected, 0.0)
    assert_all_close(functional.predict(batch, verbose=0), expected, 1e-6)


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


@pytest.mark.parametrize("architecture", HEADS)
def test_the_model_is_a_keras_model_through_and_through(architecture: str) -> None:
    model = tiny_model(architecture)
    specs = [spec for spec in model.tensor_specs() if spec.tied_to is None]
    paths = [variable.path for variable in model.weights if "seed" not in variable.path]
    assert len(paths) == len(set(paths)) == len(specs)
    assert model.built
    assert model.num_parameters() == model.count_params() - 2  # the generator's state
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "transformer" in "\n".join(lines)


IMPORT = """
import logging, random, warnings
import numpy
import keras
import tensorflow as tf

def settings():
    threading = tf.config.threading
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "policy": keras.config.dtype_policy().name,
        "backend": keras.config.backend(),
        "image data": keras.config.image_data_format(),
        "eager": tf.config.functions_run_eagerly(),
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "deterministic": tf.config.experimental.is_op_determinism_enabled()
        if hasattr(tf.config.experimental, "is_op_determinism_enabled") else None,
        "jit": tf.config.optimizer.get_jit(),
        "threads": (threading.get_intra_op_parallelism_threads(),
                    threading.get_inter_op_parallelism_threads()),
        "placement": tf.config.get_soft_device_placement(),
        "traceback": keras.config.is_traceback_filtering_enabled(),
        "logging of TensorFlow": tf.get_logger().level,
        "numpy chance": str(numpy.random.get_state()),
        "chance": random.getstate(),
        "chance of keras": str(keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")),
        "numpy errors": numpy.geterr(),
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers)),
    }

before = settings()
import xlm_tf
changed = {name for name, value in settings().items() if value != before[name]}
assert not changed, changed
import sys
loaded = {"torch", "transformers", "tf_keras", "xlm_torch"} & set(sys.modules)
assert not loaded, loaded
"""


def test_importing_changes_no_global_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
