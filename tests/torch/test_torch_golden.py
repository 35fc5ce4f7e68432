"""The original code's own outputs, and those of a trained model, come out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import xlm_torch
from tests.support.golden import ENCODER_CASES, MT_CASES, Golden, labels_of, load_golden, time_major
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_reference import as_tensors, state_dict_of

HEAD = "XLMWithLMHeadModel"


def _model(golden: Golden, dtype: torch.dtype = torch.float64) -> Any:
    model = xlm_torch.XLMWithLMHeadModel(golden.config)
    model.load_state_dict(state_dict_of(golden.weights, golden.config, HEAD), strict=True)
    return model.to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ENCODER_CASES)
def test_encoder(name: str, dtype: torch.dtype, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    exact = dtype == torch.float64
    bound, suffix = (1e-10, "f64") if exact else (2e-6, "f32")
    labels = torch.from_numpy(labels_of(golden))
    with torch.no_grad():
        output = _model(golden, dtype)(
            **as_tensors(golden.batch), labels=labels, output_hidden_states=True
        )
    expected, mask = golden.expected, golden.expected["pred_mask"]
    hidden = time_major(output.hidden_states[-1].numpy())
    assert_close_to_largest(hidden, expected[f"hidden_{suffix}"], bound, "hidden")
    scores = time_major(output.logits.numpy())[mask]
    assert_close_to_largest(scores, expected[f"scores_{suffix}"], bound, "scores")
    assert_close_to_largest(output.loss, expected[f"loss_{suffix}"], bound, "loss")


@pytest.mark.parametrize("name", MT_CASES)
def test_encoder_of_a_translation_model(name: str, shared: Callable[[str], Path]) -> None:
    golden = load_golden(name, shared)
    with torch.no_grad():
        hidden = _model(golden).transformer(**as_tensors(golden.batch)).last_hidden_state
    assert_close_to_largest(time_major(hidden.numpy()), golden.expected["encoded_f64"], 1e-10)


def test_sinusoidal_table_of_a_checkpoint_wins(shared: Callable[[str], Path]) -> None:
    golden = load_golden("sinusoidal_relu", shared)
    golden.weights["position_embeddings.weight"] = golden.weights["position_embeddings.weight"] * 2
    table = _model(golden).transformer.position_embeddings.weight
    assert_equal(table, golden.weights["position_embeddings.weight"])
    assert not table.requires_grad


def test_sinusoidal_table_is_the_originals(shared: Callable[[str], Path]) -> None:
    golden = load_golden("sinusoidal_relu", shared)
    fresh = xlm_torch.XLMModel(golden.config).position_embeddings.weight
    assert_equal(fresh.double(), golden.weights["position_embeddings.weight"])


def test_the_bound_can_fail(shared: Callable[[str], Path]) -> None:
    golden = load_golden("mlm_langs", shared)
    golden.weights["ffns.0.lin1.bias"][0] += 1e-4
    with torch.no_grad():
        hidden = _model(golden).transformer(**as_tensors(golden.batch)).last_hidden_state
    with pytest.raises(AssertionError, match="differs by"):
        assert_close_to_largest(time_major(hidden.numpy()), golden.expected["hidden_f64"], 1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_trained_model(dtype: torch.dtype, shared: Callable[[str], Path]) -> None:
    folder = shared("checkpoints/small_mlm_tlm")
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    model = xlm_torch.from_pretrained(folder / "hf", dtype=dtype)
    assert type(model) is xlm_torch.XLMWithLMHeadModel
    names = ("input_ids", "attention_mask", "langs")
    batch = as_tensors({name: expected[name] for name in names}, dtype)
    with torch.no_grad():
        output = model(**batch, output_hidden_states=True)
    hidden = torch.stack(output.hidden_states)
    if dtype == torch.float64:
        assert_close_to_largest(hidden, expected["hidden_f64"], 1e-12, "hidden")
        assert_equal(output.logits.topk(5).indices, expected["top5"], "top5")
        assert_close_to_largest(output.logits, expected["logits_f32"], 2e-6, "logits")
        return
    assert_close_to_largest(hidden, expected["hidden_f32"], 2e-6, "hidden")
    found = assert_close_to_largest(output.logits, expected["logits_f32"], 2e-6, "logits")
    theirs = transformers.XLMWithLMHeadModel.from_pretrained(folder / "hf")
    with torch.no_grad():
        reference = torch.stack(theirs(**batch, output_hidden_states=True).hidden_states)
    errors = [
        float(np.abs(value.numpy().astype(np.float64) - expected["hidden_f64"]).max())
        for value in (hidden, reference)
    ]
    print(f"float32 logits within {found:.1e} of the largest; error of the hidden states "
          f"{errors[0]:.1e}, of transformers {errors[1]:.1e}")  # fmt: skip
    assert errors[0] <= 1.2 * errors[1]
