"""Saved models for serving: any batch and length, without this library's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.parity import assert_all_close
from tests.tf.helpers import results, tensors, tiny_batch, tiny_labels, tiny_model
from xlm_core.weights import ARCHITECTURES

SIZES = ((2, 9), (3, 20))
BOUND = 5e-6  # a graph rounds differently


def _assert_serves(folder: Path, model: Any, sizes: Any = SIZES) -> None:
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]
    for rows, sequence in sizes:
        batch = tiny_batch(model.architecture, rows, sequence, "int32")
        if not model.config.has_lang_embeddings:
            del batch["langs"]
        expected = results(model(batch))
        assert_all_close(results(loaded.serve(tensors(batch))), expected, BOUND)
        assert_all_close(results(signature(**tensors(batch))), expected, BOUND)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_export_serves_any_batch_and_length(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture, n_layers=1)
    model.export(tmp_path / "served", verbose=False)
    _assert_serves(tmp_path / "served", model)


def test_integers_of_both_widths_and_mixed(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", n_layers=1)
    model.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    batch = tiny_batch(int_type="int64")
    expected = results(model(batch))
    assert_all_close(results(loaded.serve(tensors(batch))), expected, BOUND)
    assert_all_close(results(loaded.signatures["serving_int64"](**tensors(batch))), expected, BOUND)
    mixed = batch | {"attention_mask": batch["attention_mask"].astype("int32")}
    assert_all_close(results(loaded.serve(tensors(mixed))), expected, BOUND)


@pytest.mark.parametrize(
    "values",
    [
        {"causal": True, "n_langs": 1, "sinusoidal_embeddings": True},
        {"use_lang_emb": False, "chunk_size_feed_forward": 4, "tie_word_embeddings": False},
    ],
    ids=["causal", "chunked"],
)
def test_export_of_other_configurations(values: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model("XLMWithLMHeadModel", **values)
    model.export(tmp_path / "served", verbose=False)
    _assert_serves(tmp_path / "served", model)


def test_export_of_a_pruned_and_resized_model(tmp_path: Path) -> None:
    model = tiny_model("XLMWithLMHeadModel")
    model(tiny_batch())
    model.prune_heads({1: [0, 2]})
    model.resize_token_embeddings(61)
    model.export(tmp_path / "served", verbose=False)
    _assert_serves(tmp_path / "served", model)


def test_export_with_a_signature_of_ones_own(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification")
    names = ("input_ids", "langs")
    signature = [{name: tf.TensorSpec((None, 8), tf.int64, name=name) for name in names}]
    model.export(str(tmp_path / "served"), verbose=False, input_signature=signature)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    batch = {name: array for name, array in tiny_batch(rows=3, sequence=8).items() if name in names}
    assert_all_close(results(loaded.serve(tensors(batch))), results(model(batch)), BOUND)


def test_export_of_a_mixed_model_keeps_its_policy(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", dtype="mixed_bfloat16")
    model.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    output = loaded.serve(tensors(tiny_batch(int_type="int32")))
    assert output["logits"].dtype == tf.bfloat16


def test_saved_model_with_a_function_that_trains(tmp_path: Path) -> None:
    """tf.saved_model.save of a module around the model: labels, loss and gradients inside."""
    model = tiny_model("XLMForTokenClassification", dropout=0.0, attention_dropout=0.0)
    batch = tiny_batch() | tiny_labels("XLMForTokenClassification")

    class Loss(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.variables_of_model = [v.value for v in model.weights]

        @tf.function(input_signature=[{n: tf.TensorSpec((None, None), tf.int64, n) for n in batch}])
        def __call__(self, given: Any) -> Any:
            return model(given).loss

    tf.saved_model.save(Loss(), str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded(tensors(batch)), model(batch).loss, rtol=1e-6)


SERVE = """
import sys
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
ids = tf.constant(np.load(sys.argv[2]))
output = served.serve({"input_ids": ids, "attention_mask": ids * 0 + 1, "langs": ids * 0})
np.save(sys.argv[3], output["logits"].numpy())
assert not {"xlm_tf", "xlm_core"} & set(sys.modules)
"""


def test_a_served_model_does_not_need_this_library(tmp_path: Path) -> None:
    model = tiny_model("XLMWithLMHeadModel")
    model.save_pretrained(tmp_path / "saved", saved_model=True)
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    (tmp_path / "saved" / "saved_model" / "1").rename(tmp_path / "served")
    ids = tiny_batch(int_type="int32")["input_ids"]
    np.save(tmp_path / "ids.npy", ids)
    paths = [str(tmp_path / name) for name in ("served", "ids.npy", "logits.npy")]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mask = np.ones_like(ids)
    expected = model({"input_ids": ids, "attention_mask": mask, "langs": 0 * ids}).logits
    assert_all_close({"logits": np.load(paths[2])}, {"logits": expected}, BOUND)
