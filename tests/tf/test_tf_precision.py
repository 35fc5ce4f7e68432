"""Half, mixed and double precision: finite everywhere, and close to float64."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import as_array, assert_all_close, assert_close_to_largest
from tests.tf.helpers import (
    ADAPTIVE,
    FLAGS,
    HEADS,
    dataset,
    results,
    tiny_batch,
    tiny_labels,
    tiny_model,
)
from xlm_core import ConfigError
from xlm_core.weights import ARCHITECTURES
from xlm_tf import TFXLMModel

HALVES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")
# Of the largest value; bfloat16 has 8 bits.
BOUNDS = {"float16": 0.02, "bfloat16": 0.15}
EACH = pytest.mark.parametrize("architecture", ARCHITECTURES)
# One of each kind of loss: by token, by row, by span.
SOON = ("XLMWithLMHeadModel", "XLMForSequenceClassification", "XLMForQuestionAnswering")


@pytest.fixture(scope="module")
def exact() -> dict[str, Any]:
    """Architecture -> what it returns in float64, with labels and without."""
    outputs = {}
    for name in ARCHITECTURES:
        model = tiny_model(name, dtype="float64")
        given = [tiny_batch(name), tiny_batch(name) | tiny_labels(name)]
        outputs[name] = [results(model(arguments, **FLAGS)) for arguments in given]
    return outputs


@pytest.mark.parametrize("dtype", HALVES)
@EACH
def test_half_precision_is_close(architecture: str, dtype: str, exact: dict[str, Any]) -> None:
    model = tiny_model(architecture, dtype=dtype)
    compute = keras.DTypePolicy(dtype).compute_dtype
    assert model.compute_dtype == compute
    with_labels = tiny_batch(architecture) | tiny_labels(architecture)
    for arguments, expected in zip(
        (tiny_batch(architecture), with_labels), exact[architecture], strict=True
    ):
        output = model(arguments, **FLAGS)
        assert output.keys() == {name.partition(".")[0] for name in expected}
        for name, value in output.items():
            if name == "loss":
                assert value.dtype == tf.float32
                assert_close_to_largest(value, expected["loss"], 0.2)
            elif isinstance(value, tf.Tensor) and value.dtype.is_floating:
                assert value.dtype == compute, name
        found = results(output)
        assert all(np.isfinite(array.astype(np.float64)).all() for array in found.values())
        for name in ("last_hidden_state", "logits", "start_logits", "hidden_states.2"):
            if name in expected:
                assert_close_to_largest(found[name], expected[name], BOUNDS[compute], name)


@pytest.mark.parametrize("dtype", ["float64", "float32", *HALVES])
@pytest.mark.parametrize("causal", [False, True])
def test_a_row_without_any_token_is_finite(dtype: str, causal: bool) -> None:
    model = tiny_model("XLMWithLMHeadModel", dtype=dtype, causal=causal)
    batch, labels = tiny_batch(rows=2), tiny_labels("XLMWithLMHeadModel", rows=2)
    del batch["attention_mask"]
    for padding in (
        {"attention_mask": np.array([[1] * 9, [0] * 9])},
        {"lengths": np.array([9, 0])},
    ):
        with tf.GradientTape() as tape:
            output = model({**batch, **padding, **labels}, training=True, **FLAGS)
        for name, array in results(output).items():
            assert np.isfinite(array.astype(np.float64)).all(), name
        assert (as_array(output.hidden_states[-1])[1].astype(np.float64) == 0).all()
        if dtype in ("float16", "mixed_float16"):
            continue  # the variance of zeros is below what its gradients can hold
        variables = [variable.value for variable in model.trainable_variables]
        for gradient in tape.gradient(output.loss, variables):
            values = tf.cast(tf.convert_to_tensor(gradient), tf.float64)
            assert bool(tf.reduce_all(tf.math.is_finite(values)))


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        *(
            pytest.param(name, "mixed_float16", marks=[] if name in SOON else [pytest.mark.full])
            for name in HEADS
        ),
        ("XLMWithLMHeadModel", "mixed_bfloat16"),
    ],
)
def test_fit_under_a_mixed_policy(architecture: str, dtype: str) -> None:
    model = tiny_model(
        architecture, dtype=dtype, n_layers=1, dropout=0.0, attention_dropout=0.0,
        summary_first_dropout=0.0,
    )  # fmt: skip
    batch = tiny_batch(architecture) | tiny_labels(architecture)
    batch["attention_mask"][3] = 0  # a row without any token
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    assert (model.optimizer.name == "loss_scale_optimizer") is (dtype == "mixed_float16")
    history = model.fit(dataset(batch, rows=4), epochs=8, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_an_adaptive_softmax_in_half_precision() -> None:
    for dtype in HALVES:
        model = tiny_model("XLMWithLMHeadModel", dtype=dtype, **ADAPTIVE)
        output = model({**tiny_batch(), **tiny_labels("XLMWithLMHeadModel")})
        assert output.logits.dtype == model.compute_dtype
        assert output.loss.dtype == tf.float32
        total = tf.reduce_sum(tf.exp(tf.cast(output.logits, tf.float32)), -1)
        assert_close_to_largest(total, np.ones((4, 9)), 0.05)


@pytest.mark.parametrize("dtype", HALVES)
def test_labels_are_not_rounded(dtype: str) -> None:
    """Regression targets stay as they are, whatever the model computes in."""
    model = tiny_model("XLMForSequenceClassification", dtype=dtype, num_labels=1)
    targets = np.array([1000.25, -1000.5, 4097.0, 0.0], np.float32)
    output = model({**tiny_batch(), "labels": targets})
    logits = tf.cast(output.logits[:, 0], tf.float32)
    assert_close_to_largest(output.loss, tf.reduce_mean((logits - targets) ** 2), 1e-6)


def test_float64_inputs_are_not_rounded() -> None:
    model = tiny_model(dtype="float64")
    embeddings = np.random.default_rng(0).normal(size=(2, 5, 12))
    langs = np.zeros((2, 5), int)
    output = model(inputs_embeds=embeddings, langs=langs).last_hidden_state
    assert output.dtype == tf.float64
    rounded = embeddings.astype(np.float32).astype(np.float64)
    assert not np.array_equal(
        output.numpy(), model(inputs_embeds=rounded, langs=langs).last_hidden_state.numpy()
    )


def test_the_dtype_of_new_models() -> None:
    config = tiny_model().config
    assert TFXLMModel(config).dtype_policy.name == keras.config.dtype_policy().name == "float32"
    policy = keras.DTypePolicy("mixed_bfloat16")
    for given in ("mixed_bfloat16", policy):
        model = TFXLMModel(config, dtype=given)
        assert model.dtype_policy == model.attentions[0].q_lin.dtype_policy == policy
        assert model.variable_dtype == "float32"


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_models_of_integers_are_refused(dtype: str) -> None:
    with pytest.raises(ConfigError, match="expected a float dtype"):
        TFXLMModel(tiny_model().config, dtype=dtype)


def test_a_global_policy_is_followed() -> None:
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = TFXLMModel(tiny_model(dtype="float32").config)
    finally:
        keras.config.set_dtype_policy(before)
    assert model.compute_dtype == model.ffns[1].lin1.compute_dtype == "bfloat16"


def test_norms_and_softmax_compute_in_float32() -> None:
    """In float16, the squares of a norm overflow above 256: here they must not."""
    model = tiny_model(dtype="float16")
    embeddings = model.embeddings.embeddings
    embeddings.assign(embeddings * 500)
    batch = tiny_batch()
    wide = tiny_model(dtype="float32")
    wide.embeddings.embeddings.assign(tf.cast(embeddings, tf.float32))
    expected = wide(batch).last_hidden_state
    assert_close_to_largest(model(batch).last_hidden_state, expected, 0.03)


def test_double_precision_agrees_with_single(exact: dict[str, Any]) -> None:
    for name in ARCHITECTURES:
        found = results(tiny_model(name)(tiny_batch(name), **FLAGS))
        assert_all_close(found, exact[name][0], 1e-5)
