"""The benchmark of two checkouts: its interval by hand, its harness with a tiny model."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.speed.tasks import Shape
from benchmarks.two_checkouts.__main__ import NEW, OLD, Checkouts, Result, build
from benchmarks.two_checkouts.intervals import interval_of_median
from benchmarks.two_checkouts.rows import rows

ROOT = Path(__file__).resolve().parents[1]
TINY = Shape(vocab_size=61, emb_dim=16, n_layers=2, n_heads=4, max_position_embeddings=128)


@pytest.mark.parametrize(
    ("count", "rank"),
    [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6)],  # tables of the sign test, 95 %
)
def test_the_interval_is_that_of_the_sign_test(count: int, rank: int) -> None:
    found = interval_of_median([float(value) for value in range(1, count + 1)])
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.median == (count + 1) / 2


def test_few_pairs_say_nothing() -> None:
    found = interval_of_median([2.0] * 5)
    assert (found.median, found.low, found.high) == (2.0, 0.0, math.inf)


@pytest.mark.parametrize(("new", "short"), [([1.05] * 10, True), ([1.05] * 8 + [1.0] * 2, False)])
def test_a_row_falls_short_only_beyond_its_interval(new: list[float], short: bool) -> None:
    result = Result("row", {OLD: [1.0] * 10, NEW: new}, {OLD: [1.0] * 10, NEW: new})
    assert result.falls_short is short
    assert ("SLOWER" in result.line()) is short


@pytest.mark.full
def test_both_take_turns(tmp_path: Path) -> None:
    chosen = {row.name: row for row in rows(TINY)}
    folder = tmp_path / "weights"
    build(folder, TINY)
    checkouts = Checkouts({OLD: ROOT, NEW: ROOT}, folder, threads=1)
    try:
        for name in (
            "decode 1, xlm_torch",
            "attentions, xlm_torch",
            "convert to tf",
            "xlm convert",
        ):
            result = checkouts.measure(chosen[name], pairs=2)
            assert not result.missing, result.missing
            assert [len(found) for found in result.seconds.values()] == [2, 2], name
            assert name in result.line()
    finally:
        checkouts.end()


def test_what_a_checkout_lacks_is_said(tmp_path: Path) -> None:
    row = next(row for row in rows(TINY) if row.name == "small call, xlm_torch")
    checkouts = Checkouts({OLD: ROOT, NEW: tmp_path}, tmp_path, threads=1)
    try:
        assert "is not in" in checkouts.measure(row, pairs=1).missing
    finally:
        checkouts.end()
