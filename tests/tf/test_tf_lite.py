"""TensorFlow Lite: builtin operators alone, any batch and any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from tests.support.parity import assert_all_close
from tests.tf.helpers import ADAPTIVE, results, tiny_batch, tiny_model
from xlm_core.weights import ARCHITECTURES

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
SIZES = ((4, 9), (2, 14))
BOUND = 5e-6


def _assert_runs(content: bytes, model: Any) -> None:
    interpreter = tf.lite.Interpreter(model_content=content)
    for rows, sequence in SIZES:
        batch = tiny_batch(model.architecture, rows, sequence, "int32")
        if not model.config.has_lang_embeddings:
            del batch["langs"]
        places = {
            next(n for n in batch if n in each["name"]): each["index"]
            for each in interpreter.get_input_details()
        }
        for name, array in batch.items():
            interpreter.resize_tensor_input(places[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in batch.items():
            interpreter.set_tensor(places[name], array)
        interpreter.invoke()
        found = [
            interpreter.get_tensor(each["index"])
            for each in sorted(interpreter.get_output_details(), key=lambda each: each["name"])
        ]
        expected = results(model(batch))
        found = dict(zip(sorted(expected), found, strict=True))
        assert_all_close(found, expected, BOUND)


def _converted(model: Any) -> bytes:
    rank = 3 if model.architecture == "XLMForMultipleChoice" else 2
    names = ["input_ids", "attention_mask", *(["langs"] * model.config.has_lang_embeddings)]
    specs = {name: tf.TensorSpec((None,) * rank, tf.int32, name) for name in names}
    function = tf.function(lambda inputs: dict(model(inputs)), input_signature=[specs])
    graph = function.get_concrete_function()
    content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
    return content


HEADS = [name for name in ARCHITECTURES if name != "XLMForQuestionAnswering"]


@pytest.mark.parametrize("place", range(len(HEADS)), ids=HEADS)
def test_heads_of_any_size(place: int) -> None:
    model = tiny_model(HEADS[place], n_layers=1, causal=place % 2 == 1)
    _assert_runs(_converted(model), model)


def test_without_languages_and_with_an_adaptive_softmax() -> None:
    model = tiny_model("XLMWithLMHeadModel", n_layers=1, n_langs=1, causal=True, **ADAPTIVE)
    _assert_runs(_converted(model), model)


def test_export_as_litert(tmp_path: Path) -> None:
    model = tiny_model("XLMForTokenClassification", n_layers=1)
    model.export(tmp_path / "model.tflite", format="litert", verbose=False)
    _assert_runs((tmp_path / "model.tflite").read_bytes(), model)
