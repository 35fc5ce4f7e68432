"""Rows of greedy search and sampling: ends, limits, and who leaves the batch."""

from __future__ import annotations

import numpy as np
import pytest

from xlm_core.generation import Progress


def progress(limits: list[int], **options: object) -> Progress:
    settings: dict[str, object] = {"eos": (1,), "pad": 2, "closing": 1} | options
    return Progress(np.array(limits), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("drops", [True, False])
def test_rows_end_and_leave(drops: bool) -> None:
    rows = progress([4, 2, 4], drops_finished=drops)
    ids, kept = rows.step(np.array([5, 6, 1]))
    assert ids.tolist() == ([5, 6] if drops else [5, 6, 1])
    assert kept is None if not drops else kept.tolist() == [0, 1]  # type: ignore[union-attr]
    ids, kept = rows.step(np.array([7, 8] if drops else [7, 8, 9]))
    assert ids.tolist() == ([7] if drops else [7, 1, 2])  # the second is at its limit
    assert not rows.done
    rows.step(np.array([1] if drops else [1, 9, 9]))
    assert rows.done
    assert rows.generated().tolist() == [[5, 7, 1], [6, 1, 2], [1, 2, 2]]


def test_nothing_closes_a_row_of_a_language_model() -> None:
    rows = progress([1], closing=None)
    assert rows.step(np.array([7]))[0].size == 0
    assert rows.done
    assert rows.generated().tolist() == [[7]]


def test_several_ends_or_none() -> None:
    several, none = progress([3, 3], eos=(1, 4), closing=None), progress([3], eos=(), closing=None)
    assert several.step(np.array([4, 5]))[0].tolist() == [5]
    assert none.step(np.array([1]))[0].tolist() == [1]


def test_rows_that_a_caller_stops() -> None:
    rows = progress([3, 3])
    ids, _ = rows.step(np.array([5, 6]))
    ids, kept = rows.stop(np.array([True, False]), ids)
    assert ids.tolist() == [6]
    assert kept is not None
    assert kept.tolist() == [1]
    assert rows.rows.tolist() == [1]
