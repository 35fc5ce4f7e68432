"""Keras files that earlier versions wrote open as they did: Keras finds variables by paths.

The files in keras_files/ were saved by version 0.1 from `tiny_model`, whose values are always the
same, and compressed. Their paths come from the names of classes and attributes.
"""

from __future__ import annotations

import lzma
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest

from tests.support.parity import assert_all_close
from tests.tf.helpers import ADAPTIVE, results, states, tensors, tiny_batch, tiny_model
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES, quantize
from xlm_tf.quantization import is_quantized

FILES = Path(__file__).parent / "keras_files"
SIZES = {"n_heads": 1, "vocab_size": 8, "n_langs": 2, "max_position_embeddings": 4}
LANGUAGE_MODEL = "XLMWithLMHeadModel"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{architecture: (architecture, {"emb_dim": 2}) for architecture in ARCHITECTURES},
    "untied": (LANGUAGE_MODEL, {"emb_dim": 2, "tie_word_embeddings": False}),
    "adaptive": (LANGUAGE_MODEL, {"emb_dim": 4, **ADAPTIVE, "asm_cutoffs": [3, 5]}),
}


def _unpacked(name: str, folder: Path) -> Path:
    file = folder / "model.keras"
    file.write_bytes(lzma.decompress((FILES / f"{name}.keras.xz").read_bytes()))
    return file


def _outputs(model: Any) -> dict[str, Any]:
    batch = tiny_batch(model.architecture, sequence=4)
    batch["input_ids"] %= 8
    batch["langs"] %= 2
    return results(model(tensors(batch), output_hidden_states=True))


@pytest.mark.parametrize("name", CASES)
def test_models_and_weights(name: str, tmp_path: Path) -> None:
    architecture, values = CASES[name]
    expected = tiny_model(architecture, **SIZES, **values)
    file = _unpacked(name, tmp_path)
    opened = keras.saving.load_model(file)
    assert type(opened) is MODEL_CLASSES[architecture]
    with zipfile.ZipFile(file) as archive:
        archive.extract("model.weights.h5", tmp_path)
    filled = MODEL_CLASSES[architecture](expected.config.copy(), initialize=False)
    filled.load_weights(tmp_path / "model.weights.h5")
    for model in (opened, filled):
        assert_all_close(states(model), states(expected), 0.0)
        assert_all_close(_outputs(model), _outputs(expected), 0.0)


def test_an_int8_model(tmp_path: Path) -> None:
    opened = keras.saving.load_model(_unpacked("int8", tmp_path))
    assert is_quantized(opened)
    expected = quantize(tiny_model("XLMForTokenClassification", emb_dim=2, **SIZES))
    assert_all_close(
        dict(enumerate(opened.get_weights())), dict(enumerate(expected.get_weights())), 0.0
    )
    assert_all_close(_outputs(opened), _outputs(expected), 0.0)
