"""The values of tensors: the same numbers as numpy's, what is not finite counted apart."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conversion.inspection import inspect
from conversion.inspection.values import values_of
from conversion.reports.inspection import Values
from conversion.reports.inspection_text import json_of, text_of, verdict_of
from tests.conversion import pairs
from tests.support.conversion_tools import read_values_in_blocks
from xlm_core.checkpoints import LazyTensor

Array = np.ndarray[Any, Any]


def values(array: Array) -> Values:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = values_of([LazyTensor.of(array)])
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_are_numpys(monkeypatch: Any, dtype: Any, block: int) -> None:
    read_values_in_blocks(monkeypatch, block)
    array = (np.random.default_rng(1).normal(size=(23, 7)) * 3 + 100).astype(dtype)
    found, wide = values(array), array.astype(np.float64)
    assert (found.nan, found.infinite) == (0, 0)
    assert (found.smallest, found.largest) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-14)
    assert found.deviation == pytest.approx(wide.std(), rel=1e-12)


def test_keep_their_digits_beside_a_large_mean(monkeypatch: Any) -> None:
    read_values_in_blocks(monkeypatch, 64)
    array = 1e9 + np.tile([-1.0, 1.0], 500).reshape(100, 10)
    assert values(array) == Values(0, 0, 1e9 - 1, 1e9 + 1, 1e9, 1.0)


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_what_is_not_finite_is_left_aside(monkeypatch: Any, block: int) -> None:
    read_values_in_blocks(monkeypatch, block)
    array = np.array([[1.0, np.nan], [np.inf, 3.0], [-np.inf, np.nan]], np.float32)
    assert values(array) == Values(2, 2, 1.0, 3.0, 2.0, 1.0)


def test_nothing_finite_and_nothing_at_all() -> None:
    assert values(np.full((2, 2), np.nan)) == Values(4, 0)
    assert values(np.ones((0, 3))) == Values(0, 0)


def test_a_scalar_whole_numbers_and_truth_values() -> None:
    assert values(np.array(2.5)) == Values(0, 0, 2.5, 2.5, 2.5, 0.0)
    assert values(np.array([1, 2, 6])) == Values(0, 0, 1.0, 6.0, 3.0, np.sqrt(14 / 3))
    assert values(np.array([True, False])).mean == 0.5


def test_values_whose_sum_is_too_large_are_finite() -> None:
    found = values(np.array([1e308, 1e308, -1e308, 1e308]))
    assert (found.nan, found.infinite) == (0, 0)
    assert found.largest == 1e308


def test_progress_is_told_every_byte() -> None:
    told: list[int] = []
    tensors = [LazyTensor.of(np.ones((300, 1000), np.float32)), LazyTensor.of(np.ones(5))]
    values_of(tensors, told.append)
    assert sum(told) == 300 * 4000 + 40


def broken(tensors: pairs.Tensors) -> None:
    tensors[pairs.QUERY][0, :2] = np.nan
    tensors[pairs.KEY][1, 1] = -np.inf


def test_inspection_reports_them(tmp_path: Path) -> None:
    folder = pairs.write_pair(tmp_path, broken)[1]
    assert inspect(folder).problems == ()  # nobody looked
    found = inspect(folder, values=True)
    assert {*found.not_finite} == {pairs.KEY, pairs.QUERY}
    assert verdict_of(found) == "NOT SOUND: 2 with NaN or infinite values"
    lines = text_of(found).splitlines()
    assert f"not finite: {pairs.QUERY}: 2 NaN, 0 infinite of 144 values" in lines
    assert f"not finite: {pairs.KEY}: 0 NaN, 1 infinite of 144 values" in lines
    described = json.loads(json_of(found), parse_constant=pytest.fail)
    by_name = {tensor["name"]: tensor["values"] for tensor in described["tensors"]}
    assert by_name[pairs.QUERY]["nan"] == 2
    assert by_name[pairs.KEY]["infinite"] == 1
    assert by_name["pred_layer.proj.bias"]["deviation"] > 0


def test_ties_are_compared_to_their_end(tmp_path: Path, monkeypatch: Any) -> None:
    def change(tensors: pairs.Tensors) -> None:
        matrix = tensors["transformer.embeddings.weight"].copy()
        matrix[-1, -1] += 1
        tensors["pred_layer.proj.weight"] = matrix

    folder = pairs.write_pair(tmp_path, change)[1]
    first = LazyTensor.blocks

    def in_rows(tensor: LazyTensor, size: int = 48) -> Any:
        return first(tensor, size)

    monkeypatch.setattr(LazyTensor, "blocks", in_rows)
    found = inspect(folder)
    assert found.differing_ties == ()
    assert any("only its beginning was compared" in note for note in found.notes)
    found = inspect(folder, values=True)
    assert found.differing_ties == (("pred_layer.proj.weight", "embeddings.weight"),)
    assert found.notes == ()
