"""The original code's own outputs, and those of a trained model, come out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import xlm_tf
from tests.support.golden import ENCODER_CASES, MT_CASES, Golden, labels_of, load_golden, time_major
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.tf_internals import set_tensor
from tests.support.tf_models import as_tf


def _model(golden: Golden, dtype: str = "float64") -> Any:
    model = xlm_tf.TFXLMWithLMHeadModel(golden.config, dtype=dtype, initialize=False)
    for spec in model.tensor_specs():
        if spec.tied_to is None:
            set_tensor(model, spec, golden.weights[spec.path])
    return model


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ENCODER_CASES)
def test_encoder(name: str, dtype: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    bound, suffix = (1e-10, "f64") if dtype == "float64" else (2e-6, "f32")
    output = _model(golden, dtype)(
        **as_tf(golden.batch), labels=labels_of(golden), output_hidden_states=True
    )
    expected, mask = golden.expected, golden.expected["pred_mask"]
    hidden = time_major(output.hidden_states[-1].numpy())
    assert_close_to_largest(hidden, expected[f"hidden_{suffix}"], bound, "hidden")
    scores = time_major(output.logits.numpy())[mask]
    assert_close_to_largest(scores, expected[f"scores_{suffix}"], bound, "scores")
    assert_close_to_largest(output.loss, expected[f"loss_{suffix}"], bound, "loss")


@pytest.mark.parametrize("name", MT_CASES)
def test_encoder_of_a_translation_model(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    hidden = _model(golden).transformer(**as_tf(golden.batch)).last_hidden_state
    assert_close_to_largest(time_major(hidden.numpy()), golden.expected["encoded_f64"], 1e-10)


def test_sinusoidal_table_of_a_checkpoint_wins(shared: Callable[[str], Path]) -> None:
    golden = load_golden("sinusoidal_relu", shared)
    golden.weights["position_embeddings.weight"] = golden.weights["position_embeddings.weight"] * 2
    table = _model(golden).transformer.position_embeddings.embeddings
    assert_equal(table, golden.weights["position_embeddings.weight"])
    assert not table.trainable


def test_sinusoidal_table_is_the_originals(shared: Callable[[str], Path]) -> None:
    golden = load_golden("sinusoidal_relu", shared)
    fresh = xlm_tf.TFXLMModel(golden.config).position_embeddings.embeddings
    assert_equal(fresh.numpy().astype(np.float64), golden.weights["position_embeddings.weight"])


def test_the_bound_can_fail(shared: Callable[[str], Path]) -> None:
    golden = load_golden("mlm_langs", shared)
    golden.weights["ffns.0.lin1.bias"][0] += 1e-4
    hidden = _model(golden).transformer(**as_tf(golden.batch)).last_hidden_state
    with pytest.raises(AssertionError, match="differs by"):
        assert_close_to_largest(time_major(hidden.numpy()), golden.expected["hidden_f64"], 1e-10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_trained_model(dtype: str, shared: Callable[[str], Path]) -> None:
    folder = shared("checkpoints/small_mlm_tlm")
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    model = xlm_tf.from_pretrained(folder / "hf", dtype=dtype)
    assert type(model) is xlm_tf.TFXLMWithLMHeadModel
    names = ("input_ids", "attention_mask", "langs")
    output = model(**as_tf({n: expected[n] for n in names}, dtype), output_hidden_states=True)
    hidden = tf.stack(output.hidden_states)
    if dtype == "float64":
        assert_close_to_largest(hidden, expected["hidden_f64"], 1e-10, "hidden")
        assert_equal(tf.math.top_k(output.logits, 5).indices, expected["top5"], "top5")
    else:
        assert_close_to_largest(hidden, expected["hidden_f32"], 2e-6, "hidden")
    assert_close_to_largest(output.logits, expected["logits_f32"], 2e-6, "logits")
