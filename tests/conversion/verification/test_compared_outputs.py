"""Comparing: hand-made arrays with known answers, every bar missed and met."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from conversion.reports.output_table import percent
from conversion.reports.outputs import Bars, Row, describe, first_off
from conversion.reports.verification import Report
from conversion.verification.outputs import (
    compare,
    near_ties,
    rounded_equal,
)


def row_of(
    first: Any, second: Any, *, name: str = "hidden_states[0]", dtype: str = "float64", **more: Any
) -> Row:
    arrays = [{name: np.asarray(array)} for array in (first, second)]
    if np.asarray(first).dtype.kind == "f":
        arrays = [{name: array[name].astype(dtype)} for array in arrays]
    (row,) = compare(arrays[0], arrays[1], dtype=dtype, **more)
    return row


def report_of(*rows: Row) -> Report:
    seconds = {"PyTorch": {}, "TensorFlow": {}, "total": 1.5}
    return Report("folder", "XLMModel", (6, 19), 5, rows, Bars(), {"numpy": "2.0"}, seconds)


class TestDifference:
    def test_is_relative_to_the_largest_value(self) -> None:
        row = row_of([1.0, -8.0, 2.0], [1.0, -8.0, 2.5])
        assert row.difference == 0.5
        assert row.relative == 0.5 / 8
        assert row.shape == (3,)

    @pytest.mark.parametrize(
        ("dtype", "name", "difference", "passes"),
        [
            ("float64", "hidden_states[1]", 9e-13, True),
            ("float64", "hidden_states[1]", 1.1e-12, False),
            ("float64", "logits", 1.1e-12, False),
            ("float32", "logits", 1.9e-6, True),
            ("float32", "logits", 2.2e-6, False),
            ("float32", "cls_logits", 2.2e-6, False),
            ("float32", "hidden_states[1]", 9e-6, True),
            ("float32", "attentions[0]", 1.1e-5, False),
            ("float32", "last_hidden_state", 1.1e-5, False),
        ],
    )
    def test_each_dtype_and_kind_has_its_bar(
        self, dtype: str, name: str, difference: float, passes: bool
    ) -> None:
        row = row_of([1.0, 0.5], [1.0, 0.5 + difference], name=name, dtype=dtype)
        assert (row.problem is None) == passes
        if not passes:
            assert row.problem == f"{row.relative:.1e} of the largest value, bar {row.bar:g}"

    def test_zeros_agree_and_differ(self) -> None:
        assert row_of([0.0], [0.0]).problem is None
        row = row_of([0.0], [1e-300])
        assert math.isinf(row.relative)
        assert row.problem

    def test_a_scalar_is_compared(self) -> None:
        assert row_of(2.0, 2.0, name="loss").problem is None
        assert row_of(2.0, 2.0 + 1e-11, name="loss").problem

    def test_the_loss_in_float32_is_only_reported(self) -> None:
        row = row_of(2.0, 2.1, name="loss", dtype="float32")
        assert row.bar is None
        assert row.problem is None
        assert row.relative == pytest.approx(0.05)


class TestUnfit:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_off_and_named(self, bad: float) -> None:
        row = row_of([1.0, 2.0], [1.0, bad])
        assert row.problem == "1 of 2 values are NaN or infinite in TensorFlow"
        row = row_of([bad, bad], [bad, bad], titles=("one", "two"))
        assert row.problem == "2 of 2 values are NaN or infinite in one"

    def test_shapes(self) -> None:
        row = row_of(np.ones((2, 3)), np.ones((3, 2)))
        assert row.problem == "shape (2, 3) against (3, 2)"

    def test_dtypes(self) -> None:
        arrays = {"logits": np.ones(3)}
        singles = {"logits": np.ones(3, np.float32)}
        (row,) = compare(arrays, singles, dtype="float64")
        assert row.problem == "float32 in TensorFlow, expected float64"

    def test_a_tensor_that_only_one_returns(self) -> None:
        rows = compare({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(2)}, dtype="float64")
        assert [row.problem for row in rows] == [None, "only TensorFlow returns it"]
        (row,) = compare({"a": np.ones(1)}, {}, dtype="float64")
        assert row.problem == "only PyTorch returns it"


class TestArgmax:
    # The best two are 1e-7 of the largest value apart in the first place, far in the second.
    logits = np.array([[1.0, 1.0 + 1e-7, 0.0], [0.0, 0.5, 1.0]])

    def test_near_ties(self) -> None:
        assert near_ties(self.logits, 2e-6).tolist() == [True, False]
        assert near_ties(self.logits, 1e-8).tolist() == [False, False]

    def test_agreement_is_counted_over_the_last_axis(self) -> None:
        row = row_of(self.logits, self.logits, name="logits")
        assert row.argmax_equal == 1.0
        assert row_of(self.logits, self.logits).argmax_equal is None

    def test_a_near_tie_may_fall_either_way(self) -> None:
        other = self.logits + np.array([[1.5e-7, 0, 0], [0, 0, 0]])
        row = row_of(self.logits, other, name="logits", dtype="float32", judge=self._judge())
        assert row.argmax_equal == 0.5
        assert row.problem is None

    def test_a_clear_answer_may_not(self) -> None:
        other = self.logits[:, [0, 2, 1]]
        wide = Bars(float32=10.0)
        row = row_of(
            self.logits, other, name="logits", dtype="float32", judge=self._judge(), bars=wide
        )
        assert row.argmax_equal == 0.0
        assert row.problem == "argmax differs in 1 of 2 places, near-ties aside"

    def test_the_float64_output_decides_what_is_near(self) -> None:
        # Apart in float32, near in float64.
        first, second = np.array([[1.0, 0.9]]), np.array([[0.9, 1.0]])
        judge = {"start_logits": np.array([[1.0, 1.0]])}
        wide = Bars(float32=10.0)
        row = row_of(first, second, name="start_logits", dtype="float32", judge=judge, bars=wide)
        assert row.problem is None

    def test_one_candidate_has_no_argmax(self) -> None:
        assert row_of([[1.0]], [[1.0]], name="logits").argmax_equal is None

    def _judge(self) -> dict[str, Any]:
        return {"logits": self.logits}


class TestIndices:
    def test_must_be_equal_in_float64(self) -> None:
        row = row_of([3, 2, 1, 0], [3, 2, 0, 1], name="start_top_index")
        assert row.index_equal == 0.5
        assert row.problem == "2 of 4 entries differ, bar 0"
        assert row_of([3, 2], [3, 2], name="start_top_index").problem is None

    def test_are_only_reported_in_float32(self) -> None:
        row = row_of([3, 2], [2, 3], name="start_top_index", dtype="float32")
        assert row.index_equal == 0.0
        assert row.problem is None

    def test_end_beams_of_different_starts_are_not_compared(self) -> None:
        # Two starts, three ends, flat index end * 2 + start; the second start differs.
        ends = np.array([[0.5, 0.4, 0.3, 0.2, 0.1, 0.0]], np.float32)
        other = ends + np.array([[0, 9, 0, 9, 0, 9]], np.float32)
        rows = compare(
            {"start_top_index": np.array([[4, 5]]), "end_top_log_probs": ends},
            {"start_top_index": np.array([[4, 6]]), "end_top_log_probs": other},
            dtype="float32",
        )
        assert [row.problem for row in rows] == [None, None]
        assert rows[1].difference == 0
        off = ends + np.array([[0, 0, 0.1, 0, 0, 0]], np.float32)
        rows = compare(
            {"start_top_index": np.array([[4, 5]]), "end_top_log_probs": ends},
            {"start_top_index": np.array([[4, 6]]), "end_top_log_probs": off},
            dtype="float32",
        )
        assert rows[1].problem


class TestRounded:
    def test_values_that_round_to_other_numbers_are_counted(self) -> None:
        ulp = np.spacing(np.float32(1.0)).astype(np.float64)
        first = np.array([1.0, 1.0 + 0.4 * ulp, 1.0 + 0.49 * ulp, 0.0])
        second = np.array([1.0, 1.0, 1.0 + 0.51 * ulp, -0.0])
        assert rounded_equal(first, second) == 0.75

    @pytest.mark.parametrize(
        ("size", "wrong", "passes"),
        [(100_000, 1, True), (100_000, 2, False), (99_999, 50_000, True)],
    )
    def test_bar_only_for_large_outputs(self, size: int, wrong: int, passes: bool) -> None:
        first = np.ones(size)
        second = first.copy()
        second[:wrong] += np.spacing(np.float32(1.0))
        wide = Bars(float64=1.0)
        row = row_of(first, second, name="last_hidden_state", bars=wide)
        assert row.rounded_equal == 1 - wrong / size
        assert (row.problem is None) == passes
        # A state on the way has no such bar.
        assert row_of(first, second, bars=wide).problem is None

    def test_not_in_float32(self) -> None:
        assert row_of([1.0], [1.0], name="logits", dtype="float32").rounded_equal is None


class TestFirstOff:
    def test_is_the_first_in_order_of_computation(self) -> None:
        names = ("hidden_states[0]", "attentions[0]", "hidden_states[1]", "logits")
        good = {name: np.ones((2, 3)) for name in names}
        bad = {name: np.ones((2, 3)) for name in names}
        assert first_off(compare(good, bad, dtype="float64")) is None
        bad["logits"] = bad["hidden_states[1]"] = np.full((2, 3), 2.0)
        off = first_off(compare(good, bad, dtype="float64"))
        assert off is not None
        assert off.name == "hidden_states[1]"

    def test_descriptions(self) -> None:
        assert describe("hidden_states[0]") == "embeddings"
        assert describe("hidden_states[2]") == "output of layer 1"
        assert describe("attentions[2]") == "attention of layer 2"
        assert describe("logits") == ""

    def test_verdict_names_it(self) -> None:
        row = row_of([1.0, 0.0], [1.0, 3.1e-4], name="hidden_states[2]")
        report = report_of(row_of([1.0], [1.0]), row)
        assert not report.passed
        assert report.text().splitlines()[-1] == (
            "FAILED: first off in float64: hidden_states[2] (output of layer 1), 3.1e-04 of the "
            "largest value, bar 1e-12"
        )

    def test_float64_comes_first(self) -> None:
        rows = (row_of([1.0], [1.0]), row_of([1.0], [1.1], name="logits", dtype="float32"))
        assert report_of(*rows).verdict().startswith("FAILED: first off in float32: logits, ")


class TestReport:
    def test_passed(self) -> None:
        report = report_of(row_of([1.0], [1.0]), row_of([2], [2], name="end_top_index"))
        assert report.passed
        assert report.verdict().startswith("PASSED: 2 tensors; ")

    def test_columns_are_aligned(self) -> None:
        rows = [row_of([1.0], [1.0]), row_of([[1.0, 2.0]], [[1.0, 2.0]], name="logits")]
        lines = report_of(*rows).text().splitlines()
        table = [line for line in lines if line.endswith(" ok")]
        assert len(table) == 2
        assert len({line.index(" ok") for line in table}) == 1

    def test_json_holds_no_nan(self) -> None:
        report = report_of(row_of([1.0], [np.nan]), row_of([0.0], [1.0], name="logits"))
        values = json.loads(report.json(), parse_constant=pytest.fail)
        assert values["passed"] is False
        assert values["first_off"]["name"] == "hidden_states[0]"
        assert [row["relative"] for row in values["rows"]] == [None, None]
        assert values["bars"]["float64"] == 1e-12

    def test_percent_is_100_only_for_all(self) -> None:
        assert percent(1.0) == "100.0000 %"
        assert percent(1 - 1e-9) == "99.9999 %"
        assert percent(0.5) == "50.0000 %"
