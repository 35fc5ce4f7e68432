"""Losses of each head by hand and against the PyTorch family, summaries, activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.support.cases import random_case
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.tf_models import as_tf, tf_model
from tests.support.torch_reference import as_tensors, our_model
from xlm_core import XLMConfig
from xlm_core.config_rules import ACTIVATIONS as ACTIVATION_NAMES
from xlm_core.config_rules import PROBLEM_TYPES, SUMMARY_TYPES
from xlm_tf.activations import ACTIVATIONS
from xlm_tf.classification import SequenceSummary
from xlm_tf.losses import cross_entropy
from xlm_torch.activations import ACTIVATIONS as TORCH_ACTIVATIONS

SEQUENCE = "XLMForSequenceClassification"


def _losses(case: Any, labels: dict[str, Any]) -> tuple[Any, Any]:
    """Ours and that of the PyTorch family, whose own tests compare it with transformers."""
    ours, theirs = tf_model(case), our_model(case)
    with torch.no_grad():
        expected = theirs(**as_tensors(case.batch), **as_tensors(labels)).loss
    return ours(**as_tf(case.batch), **as_tf(labels)).loss, expected


@pytest.mark.parametrize("num_labels", [1, 4])
@pytest.mark.parametrize("problem_type", [*PROBLEM_TYPES, None])
def test_every_problem_type(problem_type: str | None, num_labels: int) -> None:
    case = random_case(8, SEQUENCE, problem_type=problem_type, num_labels=num_labels)
    rng, rows = np.random.default_rng(0), len(case.tokens)
    floats, integers = rng.random((rows, num_labels)), rng.integers(0, num_labels, rows)
    single = problem_type == "single_label_classification"
    labels = integers if single or (not problem_type and num_labels > 1) else floats
    actual, expected = _losses(case, {"labels": labels})
    assert_close_to_largest(actual, expected, 1e-12)
    if num_labels > 1 and problem_type is None:
        actual, expected = _losses(case, {"labels": floats})  # multi-label, told by the dtype
        assert_close_to_largest(actual, expected, 1e-12)


def test_regression_on_a_column_and_on_a_row_of_labels() -> None:
    case = random_case(9, SEQUENCE, problem_type=None, num_labels=1)
    row = np.linspace(-1, 1, len(case.tokens))
    of_row, of_column = (_losses(case, {"labels": labels}) for labels in (row, row[:, None]))
    assert of_row[0] == of_column[0]
    assert_close_to_largest(of_row[0], of_row[1], 1e-12)


def test_integer_regression_targets_and_boolean_labels() -> None:
    case = random_case(9, SEQUENCE, problem_type=None, num_labels=1)
    model, rows = tf_model(case), len(case.tokens)
    batch, target = as_tf(case.batch), np.arange(rows)
    losses = [model(**batch, labels=target.astype(t)).loss for t in ("int64", "int32", "float64")]
    assert losses[0] == losses[1] == losses[2]
    case = random_case(9, SEQUENCE, problem_type="multi_label_classification", num_labels=3)
    model, yes = tf_model(case), np.ones((rows, 3), bool)
    batch = as_tf(case.batch)
    assert model(**batch, labels=yes).loss == model(**batch, labels=yes.astype(np.float64)).loss


@pytest.mark.parametrize("int_type", ["int64", "int32"])
def test_positions_of_both_question_heads_in_each_integer_type(int_type: str) -> None:
    for architecture in ("XLMForQuestionAnsweringSimple", "XLMForQuestionAnswering"):
        case = random_case(13, architecture)
        start = np.zeros(len(case.tokens), np.int64)
        wanted = {"start_positions": start, "end_positions": start + 1}
        _, expected = _losses(case, wanted)
        given = {name: array[:, None].astype(int_type) for name, array in wanted.items()}
        actual = tf_model(case)(**as_tf(case.batch), **given).loss
        assert_close_to_largest(actual, expected, 1e-12)


def test_cross_entropy_by_hand() -> None:
    logits = tf.math.log(tf.constant([[1.0, 3.0], [2.0, 2.0]], tf.float64))
    loss = cross_entropy(logits, tf.constant([1, 0]))
    assert_close_to_largest(loss, (math.log(4 / 3) + math.log(2)) / 2, 1e-15)
    only = cross_entropy(logits, tf.constant([1, -100]))
    assert_close_to_largest(only, math.log(4 / 3), 1e-15)


def test_language_model_labels_are_not_shifted() -> None:
    case = random_case(10, "XLMWithLMHeadModel", asm=False)
    model, labels = tf_model(case), case.labels["labels"]
    output = model(**as_tf(case.batch), labels=labels)
    log_probs = tf.nn.log_softmax(output.logits).numpy()
    chosen = [log_probs[row, at, labels[row, at]] for row, at in np.argwhere(labels != -100)]
    assert_close_to_largest(output.loss, -np.mean(chosen), 1e-14)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_activations_are_those_of_the_pytorch_family(name: str) -> None:
    x = np.linspace(-9, 9, 3001)
    expected = TORCH_ACTIVATIONS[name](torch.from_numpy(x))
    assert_close_to_largest(ACTIVATIONS[name](tf.constant(x)), expected, 1e-14)
    for dtype in ("float16", "bfloat16", "float32"):
        assert ACTIVATIONS[name](tf.constant(x, dtype)).dtype == dtype


def test_both_tables_of_activations_hold_the_same_names() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)


@pytest.mark.parametrize("summary_type", SUMMARY_TYPES)
def test_summary_picks_what_its_type_says(summary_type: str) -> None:
    config = XLMConfig(
        vocab_size=20, emb_dim=3, n_heads=1, summary_type=summary_type, summary_use_proj=False
    )
    hidden = tf.reshape(tf.range(24.0), (2, 4, 3))
    picked = {
        "first": [[0.0, 1, 2], [12, 13, 14]],
        "last": [[9.0, 10, 11], [21, 22, 23]],
        "mean": [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]],
        "cls_index": [[9.0, 10, 11], [21, 22, 23]],
    }
    summary = SequenceSummary(config)
    assert_equal(summary(hidden), picked[summary_type])
    if summary_type == "cls_index":
        chosen = summary(hidden, tf.constant([1, 0]))
        assert_equal(chosen, [[3.0, 4, 5], [12, 13, 14]])


@pytest.mark.parametrize("use_proj", [True, False])
@pytest.mark.parametrize("to_labels", [True, False])
def test_widths_of_the_summary(use_proj: bool, to_labels: bool) -> None:
    case = random_case(
        4, SEQUENCE, summary_use_proj=use_proj, summary_proj_to_labels=to_labels, num_labels=5
    )
    actual = tf_model(case)(**as_tf(case.batch)).logits
    with torch.no_grad():
        expected = our_model(case)(**as_tensors(case.batch)).logits
    assert actual.shape[1] == (5 if use_proj and to_labels else case.config["emb_dim"])
    assert_close_to_largest(actual, expected, 1e-12)
