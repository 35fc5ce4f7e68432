"""Greedy and beam search give the ids that the original code gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.golden import MT_CASES
from tests.support.shared import shared_path
from xlm_torch import XLMForConditionalGeneration

BEAMS = re.compile(r"beam(\d+)_lp([\d.]+)_es([01])")


@pytest.fixture(scope="module", params=MT_CASES)
def case(request: pytest.FixtureRequest) -> tuple[Path, Any]:
    folder = shared_path(f"golden/facebook/{request.param}")
    with np.load(folder / "expected.npz") as arrays:
        return next(folder.glob("*.pth")), dict(arrays)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_the_originals_ids(case: tuple[Path, Any], dtype: torch.dtype) -> None:
    file, expected = case
    model = XLMForConditionalGeneration.from_pretrained(file, dtype=dtype)
    sources, lengths = torch.tensor(expected["x"].T), torch.tensor(expected["lengths"])
    settings = {name: int(expected[name]) for name in ("src_lang", "tgt_lang")}
    limit = int(expected["max_len"])
    ways: dict[str, dict[str, Any]] = {"greedy": {}}
    for name in expected:
        if found := BEAMS.fullmatch(name):
            beams, penalty, early = found.groups()
            ways[name] = {
                "num_beams": int(beams),
                "length_penalty": float(penalty),
                "early_stopping": early == "1",
            }
    assert len(ways) == 5
    for name, way in ways.items():
        if way.get("num_beams") == 1:  # greedy search here
            way = {}
        ids = model.generate(sources, lengths=lengths, max_length=limit, **settings, **way)
        assert torch.equal(ids, torch.tensor(expected[name].T)), name
        ends = torch.tensor(expected[f"{name}_len"])
        assert ((ids != 2).sum(1) == ends).all()
        if dtype == torch.float32:
            continue
        for row, (source, length) in enumerate(zip(sources, lengths, strict=True)):
            alone = model.generate(source[None, :length], max_length=limit, **settings, **way)
            assert alone[0].tolist() == ids[row, : ends[row]].tolist(), (name, row)
