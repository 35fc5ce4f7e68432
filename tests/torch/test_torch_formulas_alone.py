"""Without its fast paths the library is right: the formulas give the reference numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import xlm_torch
from tests.support.cases import random_case
from tests.support.golden import ENCODER_CASES, MT_CASES, labels_of, load_golden, time_major
from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.torch_internals import answer_no
from tests.support.torch_reference import (
    as_tensors,
    assert_same_outputs,
    gradients,
    pair,
    run,
    state_dict_of,
)
from xlm_core.weights import ARCHITECTURES

HEAD = "XLMWithLMHeadModel"


@pytest.fixture(autouse=True)
def _no_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_no(monkeypatch)


@pytest.mark.parametrize("name", ENCODER_CASES)
def test_the_originals_outputs(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    model = xlm_torch.XLMWithLMHeadModel(golden.config)
    model.load_state_dict(state_dict_of(golden.weights, golden.config, HEAD), strict=True)
    model.double().eval()
    labels = torch.from_numpy(labels_of(golden))
    expected, mask = golden.expected, golden.expected["pred_mask"]
    output = model(**as_tensors(golden.batch), labels=labels, output_hidden_states=True)
    hidden = time_major(output.hidden_states[-1].detach().numpy())
    assert_close_to_largest(hidden, expected["hidden_f64"], 1e-10, "hidden")
    scores = time_major(output.logits.detach().numpy())[mask]
    assert_close_to_largest(scores, expected["scores_f64"], 1e-10, "scores")
    assert_close_to_largest(output.loss, expected["loss_f64"], 1e-10, "loss")
    alone = model(**as_tensors(golden.batch), labels=labels, output_logits=False).loss
    assert_close_to_largest(alone, expected["loss_f64"], 1e-10, "loss without logits")


@pytest.mark.parametrize("name", MT_CASES)
def test_the_originals_encoder_of_a_translation_model(
    name: str, shared: Callable[[str], Path]
) -> None:
    golden = load_golden(name, shared)
    model = xlm_torch.XLMWithLMHeadModel(golden.config)
    model.load_state_dict(state_dict_of(golden.weights, golden.config, HEAD), strict=True)
    hidden = model.double().eval().transformer(**as_tensors(golden.batch)).last_hidden_state
    found = time_major(hidden.detach().numpy())
    assert_close_to_largest(found, golden.expected["encoded_f64"], 1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_is_that_of_transformers(architecture: str, seed: int) -> None:
    case = random_case(seed, architecture)
    ours, theirs = pair(case)
    with torch.no_grad():
        assert_same_outputs(run(ours, case), run(theirs, case), case, 1e-12)
    assert_all_close(gradients(ours, case), gradients(theirs, case), 1e-12, one_scale=True)
