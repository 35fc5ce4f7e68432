"""Checkpoints of every layout open directly, and compute what they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xlm_tf
from tests.support.golden import ENCODER_CASES, MT_CASES, load_golden, time_major
from tests.support.layout_models import make, write_all
from tests.support.parity import assert_close_to_largest
from tests.support.tf_internals import array_of
from xlm_core import CheckpointError, XLMWarning
from xlm_core.checkpoints.writing import Weights
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

KINDS = ("15 languages", "1 language", "sinusoidal")


def as_array(tensor: Any) -> Any:
    return tensor.numpy()


def run(model: Any, batch: dict[str, Any]) -> Any:
    return model(batch, output_hidden_states=True)


def assert_holds(model: Any, weights: Weights) -> None:
    """The model has these tensors, bit for bit."""
    assert model.architecture == weights.architecture
    for spec, tensor in weights.tensors:
        assert np.array_equal(array_of(model, spec), tensor.read()), spec.path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_layout(tmp_path: Path, architecture: str, kind: str) -> None:
    weights = make(architecture, kind)
    for place in write_all(tmp_path, weights).values():
        assert_holds(xlm_tf.from_pretrained(place), weights)
        for file in place.iterdir():
            if file.name not in ("config.json", "facebook.json"):
                assert_holds(xlm_tf.from_pretrained(file), weights)


@pytest.mark.parametrize("name", ENCODER_CASES)
def test_files_of_the_original(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    file = shared(f"golden/facebook/{name}/checkpoint.pth")
    causal = bool(golden.expected.get("causal", False))
    model = xlm_tf.from_pretrained(file, dtype="float64", causal=causal)
    output = run(model, golden.batch)
    expected, mask = golden.expected, golden.expected["pred_mask"]
    hidden = time_major(as_array(output.hidden_states[-1]))
    assert_close_to_largest(hidden, expected["hidden_f64"], 1e-10, "hidden")
    scores = time_major(as_array(output.logits))[mask]
    assert_close_to_largest(scores, expected["scores_f64"], 1e-10, "scores")


@pytest.mark.parametrize("name", MT_CASES)
def test_translation_models_open_as_their_encoder(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    folder = shared(f"golden/facebook/{name}")
    model = xlm_tf.TFXLMModel.from_pretrained(folder, dtype="float64")
    hidden = as_array(run(model, golden.batch).last_hidden_state)
    assert_close_to_largest(time_major(hidden), golden.expected["encoded_f64"], 1e-10)
    assert xlm_tf.TFXLMWithLMHeadModel.from_pretrained(folder).num_parameters() > 0


@pytest.mark.parametrize("kind", ["2 languages", "untied", "adaptive, sinusoidal", "square"])
def test_a_folder_of_a_translation_model(tmp_path: Path, kind: str) -> None:
    weights = make(ENCODER_DECODER, kind, decoder_layers=3 if kind == "square" else None)
    tensors = {spec.path: tensor.read() for spec, tensor in weights.tensors}
    places = write_all(tmp_path, weights)
    # The original has one depth for both parts.
    assert ("facebook" in places) == (kind != "square")
    assert {"safetensors", "keras"} <= places.keys()
    for place in places.values():
        both = xlm_tf.from_pretrained(place)
        assert both.architecture == ENCODER_DECODER
        encoder = xlm_tf.TFXLMWithLMHeadModel.from_pretrained(place)
        for model, stem in ((both, ""), (encoder, "encoder.")):
            for spec in model.tensor_specs():
                if spec.tied_to is None:
                    expected = tensors[stem + spec.path]
                    assert np.array_equal(array_of(model, spec), expected), spec.path


@pytest.mark.parametrize("choice", ["embeddings", "output", None])
def test_tied_tensors_that_differ(tmp_path: Path, choice: str | None) -> None:
    weights = make("XLMWithLMHeadModel", "untied")
    place = write_all(tmp_path, weights)["torch"]
    tensors = {spec.path: tensor for spec, tensor in weights.tensors}
    tied: dict[str, Any] = {"tie_word_embeddings": True}
    if choice is None:
        with pytest.raises(CheckpointError, match="tied='embeddings' or tied='output'"):
            xlm_tf.from_pretrained(place, **tied)
        return
    model = xlm_tf.from_pretrained(place, tied=choice, **tied)
    path = "embeddings.weight" if choice == "embeddings" else "pred_layer.proj.weight"
    spec = next(spec for spec in model.tensor_specs() if spec.path == "embeddings.weight")
    assert np.array_equal(array_of(model, spec), tensors[path].read())


def test_another_head(tmp_path: Path) -> None:
    places = write_all(tmp_path, make("XLMWithLMHeadModel", "2 languages"))
    for place in places.values():
        with pytest.warns(match="started fresh"):
            xlm_tf.TFXLMForTokenClassification.from_pretrained(place, num_labels=3)


def test_tensors_of_the_wrong_shape(tmp_path: Path) -> None:
    weights = make("XLMModel", "2 languages")
    wrong = [(s, LazyTensor.of(np.zeros((3, 2), np.float32))) for s, _ in weights.tensors]
    for place in write_all(tmp_path, Weights(weights.config, "XLMModel", wrong)).values():
        with pytest.raises(CheckpointError, match="misshapen") as caught:
            xlm_tf.from_pretrained(place)
        assert "attentions.0.q_lin.weight" in str(caught.value)


def test_values_beyond_the_range_of_a_dtype_are_refused(tmp_path: Path) -> None:
    weights = make("XLMModel", "2 languages")
    array = weights.tensors[0][1].read()
    array[3, :2] = 65519.0, np.inf  # is rounded to the largest; was infinite
    spoiled = [(weights.tensors[0][0], LazyTensor.of(array)), *weights.tensors[1:]]
    place = write_all(tmp_path, Weights(weights.config, "XLMModel", spoiled))["torch"]
    with pytest.warns(XLMWarning, match=r"position_embeddings\.weight \(1\)"):
        xlm_tf.from_pretrained(place, dtype="float16")
    array[3, 0] = -65520.0
    place = write_all(tmp_path / "2", Weights(weights.config, "XLMModel", spoiled))["torch"]
    with pytest.raises(CheckpointError, match=r"position_embeddings\.weight: .*range of float16"):
        xlm_tf.from_pretrained(place, dtype="float16")
    with pytest.warns(XLMWarning, match="NaN or infinite"):
        xlm_tf.from_pretrained(place, dtype="bfloat16")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_reported(tmp_path: Path, value: float) -> None:
    weights = make("XLMModel", "2 languages")
    array = weights.tensors[0][1].read()
    array[3, :2] = value
    spoiled = [(weights.tensors[0][0], LazyTensor.of(array)), *weights.tensors[1:]]
    place = write_all(tmp_path, Weights(weights.config, "XLMModel", spoiled))["torch"]
    with pytest.warns(XLMWarning, match=r"NaN or infinite, in position_embeddings\.weight \(2\)"):
        xlm_tf.from_pretrained(place)
