"""Head pruning: equal to silencing the heads, and to the pruned PyTorch model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_tf
import xlm_torch
from tests.support.cases import Array, Case, random_case
from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.tf_models import as_tf, run_tf, tf_model
from tests.support.torch_reference import run
from tests.tf.helpers import dataset, states, tiny_batch, tiny_labels, tiny_model
from xlm_core import ConfigError
from xlm_core.weights import ARCHITECTURES

PRUNED = {0: [2], 2: [0, 3]}


def _case(architecture: str = "XLMWithLMHeadModel", **values: Any) -> Case:
    sizes = {"n_heads": 4, "emb_dim": 20, "n_layers": 3, "pruned_heads": {}, "asm": False}
    values = {**sizes, "problem_type": None, "num_labels": 2, "causal": False, **values}
    case = random_case(1, architecture, **values)
    case.batch.pop("head_mask", None)
    return case


def _silenced(pruned: dict[int, list[int]]) -> Array:
    mask = np.ones((3, 4))
    for layer, heads in pruned.items():
        mask[layer, heads] = 0
    return mask


def test_pruning_is_silencing() -> None:
    case = _case()
    model, batch = tf_model(case), as_tf(case.batch)
    expected = model(**batch, head_mask=_silenced(PRUNED)).logits
    assert not np.allclose(expected, model(**batch).logits)
    count = len(model.weights)
    model.prune_heads(PRUNED)
    assert_close_to_largest(model(**batch).logits, expected, 1e-13)
    kernels = [tuple(a.q_lin.kernel.shape) for a in model.transformer.attentions]
    assert kernels == [(20, 15), (20, 20), (20, 10)]
    assert tuple(model.transformer.attentions[2].out_lin.kernel.shape) == (10, 20)
    assert model.config.pruned_heads == PRUNED
    assert len(model.weights) == count
    assert model.num_parameters() == model.count_params()


@pytest.mark.parametrize("rank", [1, 2])
def test_a_head_mask_of_full_size_fits_a_pruned_model(rank: int) -> None:
    case = _case("XLMModel")
    model, batch = tf_model(case), as_tf(case.batch)
    mask = np.array([1.0, 0, 0, 1])
    silenced = _silenced(PRUNED) * mask
    expected = model(**batch, head_mask=silenced).last_hidden_state
    model.prune_heads(PRUNED)
    given = mask if rank == 1 else np.stack([mask] * 3)
    actual = model(**batch, head_mask=given).last_hidden_state
    assert_close_to_largest(actual, expected, 1e-13)


def test_at_once_and_in_steps() -> None:
    at_once, in_steps = tf_model(_case()), tf_model(_case())
    at_once.prune_heads({1: [0, 1, 3]})
    in_steps.prune_heads({1: [1]})
    in_steps.prune_heads({1: [0, 1]})  # one is gone already
    in_steps.prune_heads({1: (3,), 0: []})
    assert_all_close(states(in_steps), states(at_once), 0.0)
    assert in_steps.config.heads_of(1) == [2]
    assert in_steps.config.heads_of(0) == [0, 1, 2, 3]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_opened_pruned(architecture: str, tmp_path: Path) -> None:
    case = _case(architecture)
    model = tf_model(case, "float32")
    model.prune_heads(PRUNED)
    model.save_pretrained(tmp_path)
    again = xlm_tf.from_pretrained(tmp_path)
    assert again.config.pruned_heads == PRUNED
    actual = run_tf(again, case, "float32")
    assert_all_close(actual, run_tf(model, case, "float32"), 0.0)
    in_torch = xlm_torch.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = run(in_torch, case, torch.float32)
    for name in [n for n in expected if n.endswith("_index")]:
        del actual[name], expected[name]
    assert_all_close(actual, expected, 2e-6)
    again.prune_heads({0: [0], 1: [1]})  # goes on in the same numbering
    in_torch.prune_heads({0: [0], 1: [1]})
    assert again.config.pruned_heads == {0: [0, 2], 1: [1], 2: [0, 3]}
    assert [a.n_heads for a in again.encoder().attentions] == [2, 3, 2]
    assert again.num_parameters() == in_torch.num_parameters()


def test_pruned_while_opening(tmp_path: Path) -> None:
    case = _case()
    model = tf_model(case, "float32")
    model.save_pretrained(tmp_path)
    model.prune_heads(PRUNED)
    opened = xlm_tf.from_pretrained(tmp_path, pruned_heads=PRUNED)
    assert opened.config.pruned_heads == PRUNED
    assert_all_close(states(opened), states(model), 0.0)


def test_a_pruned_model_trains_and_predicts_anew() -> None:
    values = {"n_layers": 1, "dropout": 0.0, "attention_dropout": 0.0}
    model = tiny_model("XLMForTokenClassification", **values)
    batch = tiny_batch()
    data = dataset(batch | tiny_labels("XLMForTokenClassification"), rows=4)
    for heads in (None, {0: [1]}):
        if heads:
            model.prune_heads(heads)
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        losses = model.fit(data, epochs=3, verbose=0, shuffle=False).history["loss"]
        assert losses[-1] < losses[0]
        predicted = model.predict(batch, verbose=0)["logits"]
        assert_close_to_largest(predicted, model(batch).logits, 1e-5)
    expected = model(batch).logits
    assert_close_to_largest(tf.function(model)(batch).logits, expected, 1e-5)


def test_frozen_layers_stay_frozen() -> None:
    model = tiny_model()
    model.attentions[0].q_lin.trainable = False
    model.prune_heads({0: [1]})
    frozen = model.attentions[0].q_lin
    kept = {id(frozen.kernel), id(frozen.bias)}
    assert not kept & {id(variable) for variable in model.trainable_variables}
    assert kept <= {id(variable) for variable in model.non_trainable_variables}
    model.trainable = False
    model.prune_heads({1: [1]})
    assert not model.trainable_variables


def test_what_was_frozen_is_set_free_again() -> None:
    """Layers made anew while they were frozen train with the others."""
    model = tiny_model("XLMForTokenClassification")
    number = len(model.trainable_variables)
    model.transformer.trainable = False
    model.prune_heads({0: [1]})
    model.resize_token_embeddings(60)
    assert len(model.trainable_variables) == 2
    model.transformer.trainable = True
    assert len(model.trainable_variables) == number


def test_the_order_of_variables_does_not_change() -> None:
    """Optimizers and Keras' weight files go by it."""
    model = tiny_model("XLMForTokenClassification")
    before = [variable.path for variable in model.weights]
    model.prune_heads({0: [1], 1: [0, 2]})
    model.resize_token_embeddings(60)
    assert [variable.path for variable in model.weights] == before


@pytest.mark.parametrize(
    ("heads", "text"),
    [
        ({3: [0]}, "layer 3 is outside the 3 layers"),
        ({-4: [0]}, "layer -4 is outside"),
        ({0: [4]}, "layer 0 has the heads 0 to 3 only"),
        ({0: [0, 1, 2, 3]}, "layer 0 must keep at least one"),
    ],
)
def test_impossible_pruning_changes_nothing(heads: dict[int, list[int]], text: str) -> None:
    model = tf_model(_case())
    before = states(model)
    with pytest.raises(ConfigError, match=text):
        model.prune_heads({1: [0], **heads})
    assert model.config.pruned_heads == {}
    assert_all_close(states(model), before, 0.0)
