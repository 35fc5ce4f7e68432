"""tf.function takes every head whole, with and without XLA, labels and known sizes."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_all_close
from tests.support.tf_internals import tracing
from tests.tf.helpers import (
    ADAPTIVE,
    FLAGS,
    HEADS,
    results,
    tensors,
    tiny_batch,
    tiny_labels,
    tiny_model,
)
from xlm_core import InputError
from xlm_core.weights import ARCHITECTURES

BOUND = 1e-13
# With labels, these heads return all that they do without, from the same graph and more.
COVERED = ("XLMForMultipleChoice", "XLMForTokenClassification", "XLMForQuestionAnsweringSimple")
WITH_AND_WITHOUT = [
    *(
        pytest.param(name, False, marks=[pytest.mark.full] if name in COVERED else [])
        for name in ARCHITECTURES
    ),
    *((name, True) for name in HEADS),
]
EACH = pytest.mark.parametrize(("architecture", "labels"), WITH_AND_WITHOUT)
SIZES = ((3, 9), (1, 7), (4, 12))


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """One model of each head, float64."""
    return {name: tiny_model(name, dtype="float64", n_layers=1) for name in ARCHITECTURES}


def _arguments(architecture: str, labels: bool, rows: int = 3, sequence: int = 9) -> Any:
    batch = tiny_batch(architecture, rows, sequence)
    return tensors(batch | (tiny_labels(architecture, rows, sequence) if labels else {}))


def _call(model: Any) -> Any:
    def call(arguments: dict[str, tf.Tensor]) -> dict[str, Any]:
        return dict(model(arguments, **FLAGS))

    return call


def _unknown_sizes(arguments: dict[str, tf.Tensor]) -> dict[str, tf.TensorSpec]:
    return {n: tf.TensorSpec([None] * t.shape.rank, t.dtype) for n, t in arguments.items()}


@EACH
def test_function(architecture: str, labels: bool, models: dict[str, Any]) -> None:
    model, arguments = models[architecture], _arguments(architecture, labels)
    actual = results(tf.function(_call(model))(arguments))
    assert ("loss" in actual) is labels
    assert_all_close(actual, results(_call(model)(arguments)), BOUND)


@EACH
def test_function_with_xla(architecture: str, labels: bool, models: dict[str, Any]) -> None:
    model, arguments = models[architecture], _arguments(architecture, labels)
    actual = results(tf.function(_call(model), jit_compile=True)(arguments))
    assert_all_close(actual, results(_call(model)(arguments)), BOUND)


@EACH
def test_one_trace_for_all_sizes(architecture: str, labels: bool, models: dict[str, Any]) -> None:
    model = models[architecture]
    signature = _unknown_sizes(_arguments(architecture, labels))
    function = tf.function(_call(model), input_signature=[signature])
    for rows, sequence in SIZES:
        arguments = _arguments(architecture, labels, rows, sequence)
        expected = results(_call(model)(arguments))
        assert_all_close(results(function(arguments)), expected, BOUND)
    assert function.experimental_get_tracing_count() == 1


def test_a_model_is_itself_a_function(models: dict[str, Any]) -> None:
    model, arguments = models["XLMForTokenClassification"], _arguments("XLMModel", False)
    expected = results(model(arguments))
    assert_all_close(results(tf.function(model)(arguments)), expected, BOUND)
    assert_all_close(results(tf.function(model)(**arguments)), expected, BOUND)
    output = tf.function(model)(arguments, return_dict=False)
    assert isinstance(output, tuple)


@pytest.mark.parametrize(
    "values",
    [
        {**ADAPTIVE, "tie_word_embeddings": False},
        {"causal": True, "chunk_size_feed_forward": 4},
        {"sinusoidal_embeddings": True, "pruned_heads": {0: [1]}, "gelu_activation": False},
    ],
    ids=["adaptive", "causal", "pruned"],
)
def test_other_configurations(values: dict[str, Any]) -> None:
    model = tiny_model("XLMWithLMHeadModel", dtype="float64", **values)
    arguments = _arguments("XLMWithLMHeadModel", labels=True)
    expected = results(_call(model)(arguments))
    unknown = {"input_signature": [_unknown_sizes(arguments)]}
    for options in ({}, {"jit_compile": True}, unknown):
        actual = results(tf.function(_call(model), **options)(arguments))
        assert_all_close(actual, expected, BOUND)


def test_the_other_ways_to_give_input(models: dict[str, Any]) -> None:
    model, arguments = models["XLMModel"], _arguments("XLMModel", False)
    ids, mask, langs = arguments.values()
    embeddings = model.get_input_embeddings()(ids)
    for given in (
        {"inputs_embeds": embeddings, "langs": langs},
        {"input_ids": ids, "langs": langs, "lengths": tf.reduce_sum(mask, -1)},
        {"input_ids": ids, "langs": langs, "position_ids": langs},
        {"input_ids": ids, "langs": langs, "token_type_ids": langs + 3},
        {"input_ids": ids, "langs": langs, "attention_mask": mask == 1},
        {**arguments, "head_mask": tf.constant([1.0, 0, 0.5], tf.float64)},
    ):
        expected = results(_call(model)(given))
        signature = _unknown_sizes(given)
        for name in ("head_mask", "inputs_embeds"):  # whose last sizes belong to the model
            if name in given:
                shape = [None] * (given[name].shape.rank - 1) + [given[name].shape[-1]]
                signature[name] = tf.TensorSpec(shape, tf.float64)
        function = tf.function(_call(model), input_signature=[signature])
        assert_all_close(results(function(given)), expected, BOUND)


def _gradients(model: Any, arguments: dict[str, tf.Tensor]) -> Any:
    with tf.GradientTape() as tape:
        loss = model(arguments).loss
    variables = [variable.value for variable in model.trainable_variables]
    return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]


def test_compiled_gradients(models: dict[str, Any]) -> None:
    model = models["XLMWithLMHeadModel"]
    arguments = _arguments("XLMWithLMHeadModel", True)

    def named(gradients: Any) -> dict[str, Array]:
        paths = [variable.path for variable in model.trainable_variables]
        return {p: as_array(g) for p, g in zip(paths, gradients, strict=True)}

    expected = named(_gradients(model, arguments))
    for options in ({}, {"jit_compile": True}):
        function = tf.function(lambda given: _gradients(model, given), **options)
        assert_all_close(named(function(arguments)), expected, BOUND, one_scale=True)


@pytest.mark.parametrize("architecture", HEADS)
def test_no_check_of_values_is_traced(architecture: str, models: dict[str, Any]) -> None:
    function = tf.function(_call(models[architecture]))
    with tracing():
        graph = function.get_concrete_function(_arguments(architecture, True)).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert not [k for k in kinds if "Assert" in k or k in ("PyFunc", "EagerPyFunc", "Where")]
    assert "BatchMatMulV2" in kinds


def test_a_traced_model_still_refuses_wrong_shapes(models: dict[str, Any]) -> None:
    model, arguments = models["XLMModel"], _arguments("XLMModel", False)
    short = {**arguments, "langs": arguments["langs"][:, :4]}
    with pytest.raises(InputError, match=r"^langs has shape \(3, 4\): expected"):
        tf.function(_call(model), autograph=False)(short)
    with pytest.raises(Exception, match=r"InputError: langs has shape \(3, 4\): expected"):
        tf.function(model)(short)  # AutoGraph puts its own exception around
    flat = tf.function(
        _call(model),
        autograph=False,
        input_signature=[{"input_ids": tf.TensorSpec(None, tf.int64)}],
    )
    with pytest.raises(InputError, match=r"^input_ids has an unknown number of dimensions"):
        flat({"input_ids": arguments["input_ids"]})


def test_dropout_in_a_function_is_new_in_each_call(models: dict[str, Any]) -> None:
    model, arguments = models["XLMModel"], _arguments("XLMModel", False)
    for options in ({}, {"jit_compile": True}):
        function = tf.function(lambda given: model(given, training=True)[0], **options)
        first, second = function(arguments), function(arguments)
        assert not bool(tf.reduce_all(first == second))
