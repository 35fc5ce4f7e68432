"""The dtype of an opened checkpoint: as asked for, float32 by default, or the file's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_tf
import xlm_torch
from tests.support.parity import assert_all_close, assert_equal
from tests.tf.helpers import states, tiny_batch, tiny_model
from xlm_core import ConfigError
from xlm_tf import TFXLMModel, TFXLMWithLMHeadModel


@pytest.mark.parametrize(
    ("spelling", "variable", "compute"),
    [
        ("float64", "float64", "float64"),
        (tf.float64, "float64", "float64"),
        ("tf.float64", "float64", "float64"),
        (tf.bfloat16, "bfloat16", "bfloat16"),
        ("mixed_float16", "float32", "float16"),
        (keras.DTypePolicy("mixed_bfloat16"), "float32", "bfloat16"),
        (keras.DTypePolicy("float64"), "float64", "float64"),
        ("auto", "float32", "float32"),
        (None, "float32", "float32"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_dtype_as_asked(spelling: Any, variable: str, compute: str, tmp_path: Path) -> None:
    tiny_model("XLMWithLMHeadModel").save_pretrained(tmp_path)
    for opener in (xlm_tf.from_pretrained, TFXLMWithLMHeadModel.from_pretrained):
        model = opener(tmp_path, dtype=spelling)
        layer = model.transformer.attentions[0].q_lin
        assert {v.dtype for v in model.trainable_variables} == {variable}
        assert model.compute_dtype == layer.compute_dtype == compute
        assert model(tiny_batch()).logits.dtype == compute


def test_the_older_name_of_the_argument(tmp_path: Path) -> None:
    tiny_model("XLMWithLMHeadModel").save_pretrained(tmp_path)
    for opener in (xlm_tf.from_pretrained, TFXLMWithLMHeadModel.from_pretrained):
        assert opener(tmp_path, torch_dtype="float64").variable_dtype == "float64"


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float64"])
def test_dtype_by_default_and_as_in_the_file(stored: str, tmp_path: Path) -> None:
    model = tiny_model(dtype=stored)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == stored
    default = TFXLMModel.from_pretrained(tmp_path)
    assert default.variable_dtype == default.compute_dtype == "float32"
    as_stored = {path: array.astype(np.float32) for path, array in states(model).items()}
    assert_all_close(states(default), as_stored, 0.0)
    auto = TFXLMModel.from_pretrained(tmp_path, dtype="auto")
    assert auto.variable_dtype == stored
    assert_all_close(
        {p: a.astype(np.float64) for p, a in states(auto).items()},
        {p: a.astype(np.float64) for p, a in states(model).items()}, 0.0,
    )  # fmt: skip
    in_torch = xlm_torch.from_pretrained(tmp_path, dtype="auto")
    assert in_torch.dtype == getattr(torch, stored)
    assert_equal(in_torch.embeddings.weight.float(), as_stored["embeddings.weight"])


def test_the_global_policy_is_followed(tmp_path: Path) -> None:
    tiny_model("XLMWithLMHeadModel").save_pretrained(tmp_path)
    before = keras.config.dtype_policy()
    try:
        for policy in ("mixed_bfloat16", "float64", keras.DTypePolicy("bfloat16")):
            keras.config.set_dtype_policy(policy)
            name = getattr(policy, "name", policy)
            for opener in (xlm_tf.from_pretrained, TFXLMWithLMHeadModel.from_pretrained):
                model = opener(tmp_path)
                assert model.dtype_policy.name == model.pred_layer.dtype_policy.name == name
            assert opener(tmp_path, dtype="float32").compute_dtype == "float32"
    finally:
        keras.config.set_dtype_policy(before)


def test_a_mixed_model_is_saved_in_float32(tmp_path: Path) -> None:
    model = tiny_model(dtype="mixed_bfloat16")
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    assert_all_close(states(TFXLMModel.from_pretrained(tmp_path)), states(model), 0.0)


def test_unknown_dtypes_of_a_checkpoint_are_refused(tmp_path: Any) -> None:
    tiny_model().save_pretrained(tmp_path)
    for unknown in ("float31", tf.int64, "int64", "no such"):
        with pytest.raises(ConfigError, match=r"dtype is .*expected one of float64"):
            TFXLMModel.from_pretrained(tmp_path, dtype=unknown)
