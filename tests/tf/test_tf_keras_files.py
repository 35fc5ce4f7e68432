"""Files of Keras: what it saved is read without it, and what is written without it, it loads."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.support.layout_models import assert_same, make
from tests.support.tf_internals import array_of, owned_specs
from tests.tf.helpers import ADAPTIVE, tiny_model
from xlm_core.checkpoints import LAYOUTS, LazyTensor, open_checkpoint
from xlm_core.checkpoints.writing import Weights, write_alone, write_folder
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES

# Keras' own business with numpy 2, in its writer of weights.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one language": {"n_langs": 1},
    "many layers": {"n_layers": 13},
    "pruned": {"pruned_heads": {0: [1]}},
    "float64": {"dtype": "float64"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
}
CASES = [
    *((name, "plain") for name in ARCHITECTURES),
    *(("XLMWithLMHeadModel", kind) for kind in KINDS if kind != "plain"),
]


def weights_in(model: Any) -> Weights:
    tensors = [(spec, LazyTensor.of(array_of(model, spec))) for spec in owned_specs(model)]
    return Weights(model.config, model.architecture, tensors)


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_what_keras_saved_is_read(tmp_path: Path, architecture: str, kind: str) -> None:
    model = tiny_model(architecture, **KINDS[kind])
    weights = weights_in(model)
    model.save(tmp_path / "model.keras")
    assert_same(weights, tmp_path / "model.keras")
    folder = tmp_path / "folder"
    model.config.save_pretrained(folder)
    model.save_weights(folder / "model.weights.h5")
    if architecture != "XLMModel":
        # Two heads share names in these files: the configuration says which it is.
        model.config.copy(architectures=[architecture]).save_pretrained(folder)
    assert_same(weights, folder)


@pytest.mark.parametrize("values", [ADAPTIVE, {"tie_word_embeddings": False}])
def test_other_output_layers(tmp_path: Path, values: dict[str, Any]) -> None:
    model = tiny_model("XLMWithLMHeadModel", **values)
    model.save(tmp_path / "model.keras")
    assert_same(weights_in(model), tmp_path / "model.keras")


def test_optimizer_state_is_named(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", num_labels=3)
    model.compile("adam")
    features = {"input_ids": np.full((4, 5), 7), "labels": np.ones((4, 5), int)}
    features["langs"] = np.zeros((4, 5), int)
    model.fit(features, batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    assert open_checkpoint(tmp_path / "model.keras").dropped == (
        "optimizer state (optimizer)",
        "the optimizer, losses and metrics of compile (compile_config)",
    )
    assert_same(weights_in(model), tmp_path / "model.keras")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["2 languages", "sinusoidal", "pruned"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_keras_loads_what_is_written(
    tmp_path: Path, architecture: str, kind: str, dtype: str
) -> None:
    weights = make(architecture, kind, dtype)
    file = tmp_path / "model.keras"
    write_alone(file, weights, LAYOUTS["keras"])
    model = keras.saving.load_model(file)
    assert type(model) is MODEL_CLASSES[architecture]
    assert model.variable_dtype == dtype
    for spec, tensor in weights.tensors:
        assert np.array_equal(array_of(model, spec), tensor.read()), spec.path
    write_folder(tmp_path, weights, LAYOUTS["keras"])
    again = MODEL_CLASSES[architecture](weights.config, dtype=dtype)
    again.load_weights(tmp_path / "model.weights.h5")
    for spec, tensor in weights.tensors:
        assert np.array_equal(array_of(again, spec), tensor.read()), spec.path


def test_the_archive_says_what_keras_says(tmp_path: Path) -> None:
    weights = make("XLMWithLMHeadModel", "2 languages")
    ours, theirs = tmp_path / "ours.keras", tmp_path / "theirs.keras"
    write_alone(ours, weights, LAYOUTS["keras"])
    keras.saving.load_model(ours).save(theirs)
    found = []
    for file in (ours, theirs):
        with zipfile.ZipFile(file) as archive:
            assert {*archive.namelist()} == {"metadata.json", "config.json", "model.weights.h5"}
            assert archive.testzip() is None
            found.append(json.loads(archive.read("config.json")))
    assert found[0] == found[1]
