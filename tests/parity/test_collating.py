"""Both families collate the same examples to the same arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xlm_tf.training
import xlm_torch.training
from tests.support.translation import small_config
from xlm_core import XLMConfig


@pytest.mark.parametrize("objective", ["mlm", "clm", "tlm", "mt"])
def test_the_same_arrays(objective: str) -> None:
    langs: dict[str, Any] = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}
    config = (
        small_config(**langs)
        if objective == "mt"
        else XLMConfig(vocab_size=60, causal=objective == "clm", **langs)
    )
    translated = objective in ("tlm", "mt")
    draw = np.random.default_rng(1)
    examples = [
        {"input_ids": draw.integers(14, 60, 3 + at).tolist(), "index": at}
        | ({"labels": draw.integers(14, 60, 9 - at).tolist()} if translated else {})
        for at in range(8)
    ]
    names = ("en", "fr") if translated else ("fr",)
    torch_, tf = (
        family.ObjectiveCollator(config, objective, names, seed=2)(examples)
        for family in (xlm_torch.training, xlm_tf.training)
    )
    assert list(torch_) == list(tf)
    for name, tensor in torch_.items():
        np.testing.assert_array_equal(tensor.numpy(), tf[name].numpy())
        assert tensor.numpy().dtype == tf[name].numpy().dtype == np.int64
