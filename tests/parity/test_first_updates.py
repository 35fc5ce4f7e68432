"""A fresh process makes the same first updates as every other, bit for bit, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.first_updates import of_fresh_processes
from tests.support.training_corpora import write_corpora

PROCESSES = 20


@pytest.mark.full
@pytest.mark.parametrize("framework", ["torch", "tf"])
def test_first_updates_are_those_of_every_process(framework: str, tmp_path: Path) -> None:
    """The first calls of functions too, which are what differed (xlm_torch/vector_math.py)."""
    write_corpora(tmp_path, 3000)
    first, *others = of_fresh_processes(framework, tmp_path, number=PROCESSES)
    assert len(first["updates"]) == 2
    assert all(each == first for each in others)
