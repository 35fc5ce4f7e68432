"""The comparison of two checkouts' numbers: it must be able to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.same_numbers.cases import batch_of, cases, labels_of
from benchmarks.same_numbers.comparing import compare, report

CASE = "torch/small encoder/{}/full/eval/last_hidden_state"
JUDGE = np.random.default_rng(0).standard_normal((3, 4))


def files(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> tuple[Path, Path]:
    for name, arrays in (("old", old), ("new", new)):
        np.savez(folder / name, **arrays)
    return folder / "old.npz", folder / "new.npz"


def results(float64_off: float = 0.0, float32_off: float = 0.0) -> dict[str, Any]:
    noise = np.random.default_rng(1).standard_normal(JUDGE.shape)
    return {
        CASE.format("float64"): JUDGE * (1 + float64_off),
        CASE.format("float32"): (JUDGE + (1e-6 + float32_off) * noise).astype(np.float32),
    }


def test_same_bits(tmp_path: Path) -> None:
    found = compare(*files(tmp_path, results(), results()))
    assert sum(found.same.values()) == 2
    assert not found.others
    assert not found.wrong
    assert list(report(found))[-1] == "no difference but rounding"


def test_rounding_passes(tmp_path: Path) -> None:
    found = compare(*files(tmp_path, results(), results(3e-16, -5e-7)))
    assert [tensor.verdict for tensor in found.others] == ["rounding of float64", "rounding"]
    assert not found.wrong


@pytest.mark.parametrize("off", [{"float64_off": 1e-11}, {"float32_off": 1e-5}])
def test_more_than_rounding_fails(tmp_path: Path, off: dict[str, float]) -> None:
    assert compare(*files(tmp_path, results(), results(**off))).wrong


def test_errors_that_grow_together_fail(tmp_path: Path) -> None:
    found = compare(*files(tmp_path, results(), results(float32_off=1e-7)))
    assert [tensor.verdict for tensor in found.others] == ["rounding"]
    assert "have grown" in found.wrong[0]


def test_what_is_missing_or_failed_is_wrong(tmp_path: Path) -> None:
    new = results()
    del new[CASE.format("float32")]
    new["torch/small encoder/float64/full/labels/FAILED"] = np.array("ValueError: no")
    assert len(compare(*files(tmp_path, results(), new)).wrong) == 2


def test_a_digest_sees_what_is_not_kept(tmp_path: Path) -> None:
    old, new = results(), results()
    old[CASE.format("float64") + "#digest"] = np.array("a")
    new[CASE.format("float64") + "#digest"] = np.array("b")
    assert compare(*files(tmp_path, old, new)).wrong


@pytest.mark.parametrize("family", ["torch", "tf"])
def test_cases_are_unique_and_have_judges(family: str) -> None:
    names = [case.name for case in cases(family)]
    assert len(names) == len(set(names))
    judges = {name.split("/", 1)[0] + name.partition("/float64/")[2] for name in names}
    for name in names:
        model, _, call = name.split("/", 2)
        assert model + call in judges, name
    for case in cases(family):
        first, second = batch_of(case), batch_of(case)
        assert all(np.array_equal(first[name], second[name]) for name in first)
        labels_of(case, first)
