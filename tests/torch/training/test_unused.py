"""Which tasks leave parameters of a model without a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.training_corpora import small_config
from xlm_core.objectives import tasks_of
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.training import WithObjectives
from xlm_torch.training.unused import leaves_unused

MASKED = (*tasks_of("mlm", ["en", "en-fr"]),)
MT = (*tasks_of("mt", ["en-fr"]),)


@pytest.mark.parametrize(
    ("kind", "tasks", "fields", "expected"),
    [
        (XLMWithLMHeadModel, MASKED, {}, False),
        (XLMWithLMHeadModel, MASKED, {"tie_word_embeddings": False}, False),
        (XLMWithLMHeadModel, MASKED, {"sinusoidal_embeddings": True}, False),
        (
            XLMWithLMHeadModel,
            MASKED,
            {"asm": True, "asm_cutoffs": [20, 25], "asm_div_value": 2.0},
            True,
        ),
        (XLMWithLMHeadModel, tasks_of("clm", ["en"]), {"causal": True}, False),
        (XLMForConditionalGeneration, MT, {}, False),
        (XLMForConditionalGeneration, (*MASKED, *MT), {}, True),
        (XLMForConditionalGeneration, MASKED, {}, True),
    ],
)
def test_it_is_known_before_a_step(kind: Any, tasks: Any, fields: Any, expected: bool) -> None:
    whole = WithObjectives(kind(small_config(**fields)), tuple(tasks)).train()
    state = torch.get_rng_state()
    assert leaves_unused(whole, tasks) == expected
    assert whole.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in whole.parameters())
