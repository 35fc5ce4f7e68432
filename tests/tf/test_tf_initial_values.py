"""Fresh weights: the distributions of the PyTorch family, reproducible, and rightly trainable."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

import xlm_torch
from tests.support.cases import Array
from tests.support.parity import assert_all_close, assert_equal
from tests.tf.helpers import ADAPTIVE, HEADS, PLAIN, states, tiny_config
from xlm_core import XLMConfig
from xlm_core.positions import sinusoidal_table
from xlm_core.weights import ARCHITECTURES, Kind, name_of
from xlm_tf import MODEL_CLASSES, TFXLMModel

BIG = {
    "vocab_size": 500, "emb_dim": 200, "n_heads": 4, "n_layers": 1, "n_langs": 100,
    "max_position_embeddings": 300, "init_std": 0.1, "embed_init_std": 0.7, "num_labels": 2,
}  # fmt: skip


def _fresh(architecture: str, config: XLMConfig, **options: Any) -> Any:
    keras.utils.set_random_seed(3)
    return MODEL_CLASSES[architecture](config, **options)


def _assert_distribution(array: Array, std: float, name: str) -> None:
    """Mean and standard deviation within five standard errors, and a normal's tails."""
    n = array.size
    assert abs(array.mean()) < 5 * std / np.sqrt(n), name
    assert abs(array.std() / std - 1) < 5 / np.sqrt(2 * n), name
    beyond = np.mean(np.abs(array) > 2 * std)  # 4.55 % of a normal, nothing of a truncated one
    assert abs(beyond - 0.0455) < 5 * np.sqrt(0.0455 / n), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_distributions_are_those_of_the_configuration(architecture: str) -> None:
    config = XLMConfig(**BIG)
    model = _fresh(architecture, config)
    torch.manual_seed(0)
    state = xlm_torch.MODEL_CLASSES[architecture](config).state_dict()
    found = states(model)
    for spec in model.tensor_specs():
        if spec.tied_to is not None:
            continue
        theirs = state[str(name_of(spec, "torch", architecture))].numpy()
        ours = found[spec.path]
        assert ours.shape == theirs.shape == spec.shape
        if spec.kind in (Kind.BIAS, Kind.NORM_SHIFT, Kind.NORM_SCALE):
            assert_equal(ours, np.full(spec.shape, spec.kind is Kind.NORM_SCALE, np.float32))
            assert_equal(ours, theirs, spec.path)
            continue
        std = config.embed_init_std if spec.kind is Kind.EMBEDDING else config.init_std
        for array in (ours, theirs):
            if spec.path == "embeddings.weight":
                assert (array[config.pad_index] == 0).all()
                array = np.delete(array, config.pad_index, 0)
            _assert_distribution(array, std, spec.path)


def test_no_two_tensors_begin_alike() -> None:
    model = _fresh("XLMModel", XLMConfig(**{**BIG, "emb_dim": 20, "n_layers": 3}))
    drawn = [a for path, a in states(model).items() if "lin" in path and path.endswith("weight")]
    corners = [float(array[0, 0]) for array in drawn]
    assert len(set(corners)) == len(corners) == 3 * 6


@pytest.mark.parametrize("architecture", ["XLMModel", "XLMForQuestionAnswering"])
def test_a_seed_makes_it_reproducible(architecture: str) -> None:
    first, again = (_fresh(architecture, tiny_config()) for _ in range(2))
    assert_all_close(states(again), states(first), 0.0)
    assert_equal(again.encoder().seed_generator.state, first.encoder().seed_generator.state)
    other = MODEL_CLASSES[architecture](tiny_config())
    assert not np.array_equal(
        states(other)["attentions.0.q_lin.weight"], states(first)["attentions.0.q_lin.weight"]
    )


def test_the_same_values_in_every_dtype() -> None:
    expected = states(_fresh("XLMWithLMHeadModel", tiny_config()))
    for dtype in ("float64", "mixed_float16", "mixed_bfloat16"):
        model = _fresh("XLMWithLMHeadModel", tiny_config(), dtype=dtype)
        assert_all_close(states(model), expected, 0.0)


def test_without_drawing_all_is_zero_and_chance_is_left_alone() -> None:
    keras.utils.set_random_seed(1)
    model = TFXLMModel(tiny_config(), initialize=False)
    assert all((array == 0).all() for array in states(model).values())


def test_the_sinusoidal_table_is_not_trained() -> None:
    model = _fresh("XLMWithLMHeadModel", tiny_config(sinusoidal_embeddings=True))
    table = model.transformer.position_embeddings.embeddings
    assert_equal(table, sinusoidal_table(20, 12))
    assert not table.trainable
    assert not any(variable is table for variable in model.trainable_weights)
    assert any(variable is table for variable in model.non_trainable_weights)
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - 20 * 12


def test_drawing_again_keeps_the_table_and_its_shape() -> None:
    model = _fresh("XLMModel", tiny_config(sinusoidal_embeddings=True))
    before = states(model)
    model.init_weights()
    after = states(model)
    assert_equal(after["position_embeddings.weight"], before["position_embeddings.weight"])
    assert not np.array_equal(after["embeddings.weight"], before["embeddings.weight"])


def test_an_adaptive_softmax_is_drawn_too() -> None:
    config = XLMConfig(**{**BIG, **ADAPTIVE, "asm_cutoffs": [100, 300]})
    found = states(_fresh("XLMWithLMHeadModel", config))
    for path in ("pred_layer.proj.head.weight", "pred_layer.proj.tail.1.0.weight"):
        _assert_distribution(found[path], 0.1, path)
    assert (found["pred_layer.proj.head.bias"] == 0).all()


@pytest.mark.parametrize("architecture", HEADS)
def test_a_frozen_model_trains_nothing(architecture: str) -> None:
    model = MODEL_CLASSES[architecture](tiny_config(**PLAIN))
    model.transformer.trainable = False
    names = {variable.path.split("/")[1] for variable in model.trainable_weights}
    assert "transformer" not in names
    assert names
    model.trainable = False
    assert not model.trainable_weights
