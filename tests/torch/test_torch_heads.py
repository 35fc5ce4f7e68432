"""Losses of each head by hand and against transformers, summaries and their activations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2FN

from tests.support.cases import random_case
from tests.support.parity import assert_close_to_largest
from tests.support.torch_internals import cross_entropy
from tests.support.torch_reference import as_tensors, exact_float64, pair
from xlm_core import InputError, XLMConfig
from xlm_core.config_rules import ACTIVATIONS as ACTIVATION_NAMES
from xlm_core.config_rules import PROBLEM_TYPES, SUMMARY_TYPES
from xlm_torch.activations import ACTIVATIONS
from xlm_torch.classification import SequenceSummary

SEQUENCE = "XLMForSequenceClassification"


def _losses(case: Any, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    ours, theirs = pair(case)
    batch = as_tensors(case.batch)
    with torch.no_grad(), exact_float64():
        return ours(**batch, **labels).loss, theirs(**batch, **labels, return_dict=True).loss


@pytest.mark.parametrize("num_labels", [1, 4])
@pytest.mark.parametrize("problem_type", [*PROBLEM_TYPES, None])
def test_every_problem_type(problem_type: str | None, num_labels: int) -> None:
    case = random_case(8, SEQUENCE, problem_type=problem_type, num_labels=num_labels)
    rows = len(case.tokens)
    generator = torch.Generator().manual_seed(0)
    floats = torch.rand(rows, num_labels, generator=generator, dtype=torch.float64)
    integers = torch.randint(num_labels, (rows,), generator=generator)
    labels = floats
    if problem_type == "single_label_classification" or (not problem_type and num_labels > 1):
        labels = integers
    actual, expected = _losses(case, {"labels": labels})
    assert_close_to_largest(actual, expected, 1e-12)
    if num_labels > 1 and problem_type is None:
        actual, expected = _losses(case, {"labels": floats})  # multi-label, told by the dtype
        assert_close_to_largest(actual, expected, 1e-12)


def test_regression_on_a_column_and_on_a_row_of_labels() -> None:
    case = random_case(9, SEQUENCE, problem_type=None, num_labels=1)
    row = torch.linspace(-1, 1, len(case.tokens), dtype=torch.float64)
    of_row, of_column = (_losses(case, {"labels": labels}) for labels in (row, row[:, None]))
    assert of_row[0] == of_column[0]
    assert_close_to_largest(of_row[0], of_row[1], 1e-12)


def test_integer_regression_targets_and_boolean_labels() -> None:
    case = random_case(9, SEQUENCE, problem_type=None, num_labels=1)
    ours, _ = pair(case)
    batch, rows = as_tensors(case.batch), len(case.tokens)
    target = torch.arange(rows)
    assert ours(**batch, labels=target).loss == ours(**batch, labels=target.double()).loss
    case = random_case(9, SEQUENCE, problem_type="multi_label_classification", num_labels=3)
    ours, _ = pair(case)
    yes = torch.ones(rows, 3, dtype=torch.bool)
    assert ours(**batch, labels=yes).loss == ours(**batch, labels=yes.double()).loss


@pytest.mark.parametrize("int_type", [torch.int64, torch.int32])
def test_positions_of_both_question_heads_in_each_integer_type(int_type: torch.dtype) -> None:
    for architecture in ("XLMForQuestionAnsweringSimple", "XLMForQuestionAnswering"):
        case = random_case(13, architecture)
        start = torch.zeros(len(case.tokens), dtype=torch.int64)
        wanted = {"start_positions": start, "end_positions": start + 1}
        _, expected = _losses(case, wanted)
        ours, _ = pair(case)
        given = {name: tensor[:, None].to(int_type) for name, tensor in wanted.items()}
        assert_close_to_largest(ours(**as_tensors(case.batch), **given).loss, expected, 1e-12)


def test_cross_entropy_by_hand() -> None:
    logits = torch.log(torch.tensor([[1.0, 3.0], [2.0, 2.0]], dtype=torch.float64))
    loss = cross_entropy(logits, torch.tensor([1, 0]))
    assert_close_to_largest(loss, (math.log(4 / 3) + math.log(2)) / 2, 1e-15)
    assert_close_to_largest(cross_entropy(logits, torch.tensor([1, -100])), math.log(4 / 3), 1e-15)


def test_language_model_labels_are_not_shifted() -> None:
    case = random_case(10, "XLMWithLMHeadModel", asm=False)
    ours, _ = pair(case)
    batch, labels = as_tensors(case.batch), torch.from_numpy(case.labels["labels"])
    output = ours(**batch, labels=labels)
    log_probs = output.logits.log_softmax(-1)
    chosen = [log_probs[row, at, labels[row, at]] for row, at in (labels != -100).nonzero()]
    assert_close_to_largest(output.loss, -sum(chosen) / len(chosen), 1e-14)


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_activations_are_those_of_transformers(name: str) -> None:
    x = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    expected = torch.nn.functional.hardswish if name == "hardswish" else ACT2FN[name]
    assert_close_to_largest(ACTIVATIONS[name](x), expected(x), 1e-14)


def test_both_tables_of_activations_hold_the_same_names() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)


@pytest.mark.parametrize("summary_type", SUMMARY_TYPES)
def test_summary_picks_what_its_type_says(summary_type: str) -> None:
    config = XLMConfig(
        vocab_size=20, emb_dim=3, n_heads=1, summary_type=summary_type, summary_use_proj=False
    )
    hidden = torch.arange(24.0).reshape(2, 4, 3)
    picked = {
        "first": [[0.0, 1, 2], [12, 13, 14]],
        "last": [[9.0, 10, 11], [21, 22, 23]],
        "mean": [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]],
        "cls_index": [[9.0, 10, 11], [21, 22, 23]],
    }
    summary = SequenceSummary(config).eval()
    assert torch.equal(summary(hidden), torch.tensor(picked[summary_type]))
    if summary_type == "cls_index":
        chosen = summary(hidden, torch.tensor([1, 0]))
        assert torch.equal(chosen, torch.tensor([[3.0, 4, 5], [12, 13, 14]]))


@pytest.mark.parametrize("use_proj", [True, False])
@pytest.mark.parametrize("to_labels", [True, False])
def test_widths_of_the_summary(use_proj: bool, to_labels: bool) -> None:
    case = random_case(
        4, SEQUENCE, summary_use_proj=use_proj, summary_proj_to_labels=to_labels, num_labels=5
    )
    ours, theirs = pair(case)
    batch = as_tensors(case.batch)
    with torch.no_grad(), exact_float64():
        actual, expected = ours(**batch).logits, theirs(**batch, return_dict=True).logits
    assert actual.shape[1] == (5 if use_proj and to_labels else case.config["emb_dim"])
    assert_close_to_largest(actual, expected, 1e-12)


def test_summary_dropouts_act_before_and_after_the_projection() -> None:
    common = {"vocab_size": 20, "emb_dim": 64, "n_heads": 1, "num_labels": 50}
    hidden = torch.ones(30, 2, 64)
    for rates, where in (((0.5, 0.0), "before"), ((0.0, 0.5), "after")):
        config = XLMConfig(**common, summary_first_dropout=rates[0], summary_last_dropout=rates[1])
        torch.manual_seed(0)
        summary = SequenceSummary(config)
        summary.summary.bias.data.fill_(1.0)
        zero = (summary.train()(hidden) == 0).float().mean()
        assert (zero == 0) if where == "before" else (0.4 < zero < 0.6)
        assert not torch.equal(summary(hidden), summary(hidden))
        assert torch.equal(summary.eval()(hidden), summary(hidden))


def test_a_head_mask_of_five_dimensions_is_that_of_transformers() -> None:
    case = random_case(0, "XLMModel", n_heads=3, emb_dim=15, n_layers=2, pruned_heads={})
    case.batch.pop("head_mask", None)
    ours, theirs = pair(case)
    rows, length = case.tokens.shape
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(2, rows, 3, length, length, generator=generator, dtype=torch.float64)
    batch = as_tensors(case.batch)
    with torch.no_grad(), exact_float64():
        for head_mask in (mask, mask[:, :1, :, :1, :1]):
            actual = ours(**batch, head_mask=head_mask)[0]
            expected = theirs(**batch, head_mask=head_mask, return_dict=True)[0]
            assert_close_to_largest(actual, expected, 1e-12)
        for wrong in (mask[:1], mask[:, :, :2], mask[:, :1].expand(-1, rows + 1, -1, -1, -1)):
            with pytest.raises(InputError, match="head_mask has shape"):
                ours(**batch, head_mask=wrong)
