"""Greedy and beam search give the ids that the original code gives."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.golden import MT_CASES
from tests.support.shared import shared_path
from xlm_tf import TFXLMForConditionalGeneration

FULL = os.environ.get("XLM_FULL") == "1"
BEAMS = re.compile(r"beam(\d+)_lp([\d.]+)_es([01])")


@pytest.fixture(scope="module", params=MT_CASES)
def case(request: pytest.FixtureRequest) -> tuple[Path, Any]:
    folder = shared_path(f"golden/facebook/{request.param}")
    with np.load(folder / "expected.npz") as arrays:
        return next(folder.glob("*.pth")), dict(arrays)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_originals_ids(case: tuple[Path, Any], dtype: str) -> None:
    file, expected = case
    model = TFXLMForConditionalGeneration.from_pretrained(file, dtype=dtype)
    sources, lengths = tf.constant(expected["x"].T), tf.constant(expected["lengths"])
    settings = {name: int(expected[name]) for name in ("src_lang", "tgt_lang")}
    settings["max_length"] = int(expected["max_len"])
    ways: dict[str, dict[str, Any]] = {"greedy": {}}
    for name in expected:
        found = BEAMS.fullmatch(name)
        if found and found[1] != "1":  # one beam is greedy search here
            beams, penalty, early = found.groups()
            ways[name] = {
                "num_beams": int(beams),
                "length_penalty": float(penalty),
                "early_stopping": early == "1",
            }
    assert len(ways) == 4
    if dtype == "float32" and not FULL:
        ways = {name: way for name, way in ways.items() if way.get("num_beams", 3) == 3}
    for name, way in ways.items():
        ids = model.generate(sources, lengths=lengths, **settings, **way).numpy()
        assert np.array_equal(ids, expected[name].T), name
        ends = expected[f"{name}_len"]
        assert ((ids != 2).sum(axis=1) == ends).all()
        for row in range(len(ids)) if FULL else [0] if not way else []:
            alone = model.generate(sources[row : row + 1, : lengths[row]], **settings, **way)
            assert alone[0].numpy().tolist() == ids[row, : ends[row]].tolist(), (name, row)
