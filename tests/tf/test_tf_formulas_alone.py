"""Without its fast paths the library is right: the formulas give the reference numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import xlm_tf
from tests.support.cases import random_case
from tests.support.golden import (
    ENCODER_CASES,
    MT_CASES,
    Golden,
    labels_of,
    load_golden,
    time_major,
)
from tests.support.parity import as_array, assert_all_close, assert_close_to_largest
from tests.support.tf_internals import answer_no, set_tensor
from tests.support.tf_models import as_tf, run_tf, tf_gradients, tf_model
from tests.support.torch_reference import assert_same_outputs, gradients, pair, run
from xlm_core.weights import ARCHITECTURES, name_of


@pytest.fixture(autouse=True)
def _no_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_no(monkeypatch)


def _model(golden: Golden) -> Any:
    model = xlm_tf.TFXLMWithLMHeadModel(golden.config, dtype="float64", initialize=False)
    for spec in model.tensor_specs():
        if spec.tied_to is None:
            set_tensor(model, spec, golden.weights[spec.path])
    return model


@pytest.mark.parametrize("name", ENCODER_CASES)
def test_the_originals_outputs(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    model, labels = _model(golden), labels_of(golden)
    expected, mask = golden.expected, golden.expected["pred_mask"]
    output = model(**as_tf(golden.batch), labels=labels, output_hidden_states=True)
    hidden = time_major(output.hidden_states[-1].numpy())
    assert_close_to_largest(hidden, expected["hidden_f64"], 1e-10, "hidden")
    scores = time_major(output.logits.numpy())[mask]
    assert_close_to_largest(scores, expected["scores_f64"], 1e-10, "scores")
    assert_close_to_largest(output.loss, expected["loss_f64"], 1e-10, "loss")
    alone = model(**as_tf(golden.batch), labels=labels, output_logits=False).loss
    assert_close_to_largest(alone, expected["loss_f64"], 1e-10, "loss without logits")


@pytest.mark.parametrize("name", MT_CASES)
def test_the_originals_encoder_of_a_translation_model(
    name: str, shared: Callable[[str], Path]
) -> None:
    golden = load_golden(name, shared)
    hidden = _model(golden).transformer(**as_tf(golden.batch)).last_hidden_state
    assert_close_to_largest(time_major(hidden.numpy()), golden.expected["encoded_f64"], 1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_is_that_of_transformers(architecture: str, seed: int) -> None:
    """In float64, which only transformers' models in PyTorch compute in."""
    case = random_case(seed, architecture)
    _, theirs = pair(case)
    case = random_case(seed, architecture)  # whose random numbers begin anew
    ours = tf_model(case)
    found = {name: torch.from_numpy(as_array(x)) for name, x in run_tf(ours, case).items()}
    with torch.no_grad():
        assert_same_outputs(found, run(theirs, case), case, 1e-12)
    expected, names = gradients(theirs, case), ours.tensor_specs()
    by_path = {spec.path: name_of(spec, "torch", architecture) for spec in names}
    mine = tf_gradients(ours, case)
    assert_all_close(mine, {path: expected[by_path[path]] for path in mine}, 1e-12, one_scale=True)
