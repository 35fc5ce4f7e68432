"""`verify_pair`: equal ones pass, whatever their layouts; what differs is found and named first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from conversion.convert import convert
from conversion.reports.html.page import page_of
from conversion.reports.pair import PairReport
from conversion.reports.progress import ByteProgress
from conversion.verification import verify_pair
from tests.conversion import pairs
from tests.conversion.small_checkpoints import require_frameworks, write_checkpoint
from xlm_core.checkpoints import LAYOUTS, save_checkpoint
from xlm_core.errors import CheckpointError

Shared = Callable[[str], Path]
ALONE = "the forward proof was left out"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No framework is installed: the verdict rests on the tensors."""
    pairs.hide_frameworks(monkeypatch)


def compared(first: Path, second: Path) -> PairReport:
    """The report, whose text and JSON say the same."""
    report = verify_pair(first, second)
    assert report.text().splitlines()[-1] == report.verdict()
    values = json.loads(report.json(), parse_constant=pytest.fail)
    assert values["passed"] == report.passed == report.verdict().startswith("PASSED: ")
    assert values["first_off"] == report.first_off
    return report


@pytest.mark.usefixtures("alone")
class TestTensorsAlone:
    def test_every_layout_against_every_other(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "source")
        for layout in LAYOUTS:
            convert(tmp_path / "source", tmp_path / layout, to=layout)
        for first in LAYOUTS:
            for second in LAYOUTS:
                report = compared(tmp_path / first, tmp_path / second)
                assert report.verdict() == f"PASSED: 54 tensors equal bit by bit; {ALONE}"
                assert [side.layout for side in report.sides] == [first, second]

    @pytest.mark.parametrize(
        "case", ["mt_encoder_decoder", "sinusoidal_relu", "untied_output", "adaptive_softmax"]
    )
    def test_golden_files(self, tmp_path: Path, shared: Shared, case: str) -> None:
        source = next(shared(f"golden/facebook/{case}").glob("*.pth"))
        for layout in ("safetensors", "facebook"):
            convert(source, tmp_path / layout, to=layout)
            assert compared(source, tmp_path / layout).passed

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (pairs.flip_a_bit, "ffns.2.lin1.bias (layer 2): 1 of 48 values differs"),
            (pairs.swap_query_and_key, "attentions.1.q_lin.weight (layer 1): all values differ"),
            (pairs.transpose, "attentions.0.v_lin.weight (layer 0): 132 of 144 values differ"),
        ],
    )
    def test_what_differs_is_named(
        self, tmp_path: Path, change: Callable[[pairs.Tensors], None], words: str
    ) -> None:
        report = compared(*pairs.write_pair(tmp_path, change))
        assert report.verdict().startswith(f"FAILED: first off: tensor {words}")
        assert "  OFF: " in report.text()

    def test_a_tensor_under_another_name(self, tmp_path: Path) -> None:
        report = compared(*pairs.write_pair(tmp_path, pairs.rename))
        assert report.sides[0].problems == ()
        assert report.sides[1].problems[0] == "missing (1): attentions.1.q_lin.weight"
        assert report.first_off == "B by itself: missing (1): attentions.1.q_lin.weight"
        assert report.forward.left_out == "B does not fit its own configuration"
        text = report.text()
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "only A has it" in text
        assert "only B has it" in text

    def test_a_half_precision_copy_is_told_as_such(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="facebook", dtype="float16")
        report = compared(tmp_path / "a", tmp_path / "b")
        assert report.passed
        assert report.rounded_to == "float16"
        assert report.verdict() == (
            "PASSED: equal after rounding to float16: 54 of 54 tensors are stored in another "
            f"dtype, with the values of the other rounded; {ALONE}"
        )

    def test_a_copy_in_a_wider_dtype_is_told_as_such(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="tf", dtype="float64")
        assert compared(tmp_path / "a", tmp_path / "b").verdict() == (
            "PASSED: every value is the same: 54 of 54 tensors are stored in another dtype; "
            f"{ALONE}"
        )

    def test_a_copy_in_two_dtypes_is_told_as_such(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            for number, name in enumerate(tensors):
                narrow = ml_dtypes.bfloat16 if number % 2 else np.float16
                tensors[name] = tensors[name].astype(narrow)

        report = compared(*pairs.write_pair(tmp_path, change))
        assert report.passed
        assert report.rounded_to == "bfloat16 and float16"

    def test_a_half_precision_copy_with_a_fault_is_not(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            for name, array in tensors.items():
                tensors[name] = array.astype(np.float16)
            tensors[pairs.QUERY].view(np.uint16)[0, 0] ^= 1

        report = compared(*pairs.write_pair(tmp_path, change))
        assert report.rounded_to is None
        assert report.verdict().startswith("FAILED: first off: tensor ")

    def test_another_configuration_of_the_same_tensors(self, tmp_path: Path) -> None:
        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        config = write_checkpoint(first).copy(n_heads=2, layer_norm_eps=1e-5)
        save_checkpoint(second, config, pairs.tensors_in(first))
        report = compared(first, second)
        assert {**report.fields} == {"n_heads": (4, 2), "layer_norm_eps": (1e-12, 1e-5)}
        assert report.verdict() == "FAILED: first off: n_heads is 4 in A and 2 in B"
        assert "configuration, layer_norm_eps: 1e-12 in A, 1e-05 in B" in report.text()
        assert report.tensors_off == []

    def test_another_class(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="safetensors", head="XLMModel")
        report = compared(tmp_path / "a", tmp_path / "b")
        assert report.verdict() == (
            "FAILED: first off: the class is XLMWithLMHeadModel in A and XLMModel in B"
        )
        assert [row.name for row in report.tensors_off] == ["pred_layer.proj.bias"]
        assert report.forward.left_out == "they are of different classes"

    def test_tied_tensors_that_differ_within_a_file(self, tmp_path: Path) -> None:
        def change(tensors: pairs.Tensors) -> None:
            tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"] + 1

        report = compared(*pairs.write_pair(tmp_path, change))
        assert str(report.first_off).startswith("B by itself: pred_layer.proj.weight and ")

    def test_what_was_not_proven_is_said(self, tmp_path: Path) -> None:
        report = compared(*pairs.write_pair(tmp_path, pairs.nothing))
        assert report.passed
        assert report.forward.rows == ()
        (unproven,) = report.not_proven
        for extra in ("xlm-parity[torch]", "xlm-parity[tf]"):
            assert extra in unproven
        assert f"not proven: {unproven}" in report.text().splitlines()

    def test_what_cannot_be_opened_is_an_error(self, tmp_path: Path) -> None:
        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        (second / "model.safetensors").write_bytes(b"nothing of use")
        with pytest.raises(CheckpointError, match="damaged"):
            verify_pair(first, second)


class TestForward:
    @pytest.fixture(autouse=True)
    def _frameworks(self) -> None:
        require_frameworks()

    def test_one_runs_in_each_framework(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b.pth", to="facebook")
        report = compared(tmp_path / "a", tmp_path / "b.pth")
        assert report.passed, report.verdict()
        assert report.forward.titles == ("A in PyTorch", "B in TensorFlow")
        assert report.not_proven == ()
        names = [row.name for row in report.forward.rows if row.dtype == "float64"]
        assert names == [row.name for row in report.forward.rows if row.dtype == "float32"]
        assert {"hidden_states[3]", "attentions[2]", "logits", "loss"} <= {*names}
        assert 0 < report.largest("float64") < 1e-12
        assert "54 tensors equal bit by bit; A in PyTorch and B in TensorFlow" in report.verdict()
        assert report.seconds["B in TensorFlow"]["float32"]["open"] > 0

    def test_rounded_weights_give_outputs_that_are_reported(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="keras", dtype="bfloat16")
        report = compared(tmp_path / "a", tmp_path / "b")
        assert report.passed, report.verdict()
        assert 1e-6 < report.largest("float64") < 0.1
        assert {row.problem for row in report.forward.rows} == {None}
        (unproven,) = report.not_proven
        assert "that both frameworks compute the same" in unproven
        assert "float64, what rounding costs" in report.text()
        assert "float64, what rounding costs" in page_of(report)

    def test_wider_weights_still_meet_the_bars(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "a")
        convert(tmp_path / "a", tmp_path / "b", to="torch", dtype="float64")
        report = compared(tmp_path / "a", tmp_path / "b")
        assert report.passed, report.verdict()
        assert report.forward.has_bars
        assert 0 < report.largest("float64") < 1e-12

    def test_swapped_ones_show_in_what_is_computed(self, tmp_path: Path) -> None:
        report = compared(*pairs.write_pair(tmp_path, pairs.swap_query_and_key))
        off = [row.name for row in report.forward.rows if row.problem]
        assert off[0] == "attentions[1]"
        assert "hidden_states[1]" not in off

    def test_another_number_of_heads(self, tmp_path: Path) -> None:
        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        config = write_checkpoint(first).copy(n_heads=2)
        save_checkpoint(second, config, pairs.tensors_in(first))
        report = compared(first, second)
        assert str(report.first_off).startswith("n_heads")
        problems = {row.name: row.problem for row in report.forward.rows}
        assert problems["hidden_states[0]"] is None
        assert str(problems["attentions[0]"]).startswith("shape (6, 4, 19, 19) against (6, 2, ")
        assert problems["hidden_states[1]"] is not None

    def test_a_batch_that_one_refuses(self, tmp_path: Path) -> None:
        architecture = "XLMForQuestionAnswering"
        first, second = pairs.write_pair(tmp_path, pairs.nothing, architecture)
        config = write_checkpoint(first, architecture).copy(start_n_top=30)
        save_checkpoint(second, config, pairs.tensors_in(first))
        report = compared(first, second)
        assert "start_n_top is 30" in str(report.forward.failure)
        assert f"could not be run: {report.forward.failure}" in report.text()

    def test_an_encoder_decoder_runs_whole(self, tmp_path: Path, shared: Shared) -> None:
        source = next(shared("golden/facebook/mt_encoder_decoder").glob("*.pth"))
        convert(source, tmp_path / "b", to="safetensors")
        report = compared(source, tmp_path / "b")
        assert report.passed, report.verdict()
        assert len(report.tensors) == 96
        assert not report.notes
        assert "cross_attentions[1]" in {row.name for row in report.forward.rows}

    def test_a_trained_model_against_its_original(self, shared: Shared) -> None:
        report = compared(
            shared("checkpoints/small_mlm_tlm/hf"),
            shared("checkpoints/small_mlm_tlm/facebook/mlm_tlm_small.pth"),
        )
        assert report.passed, report.verdict()

    @pytest.mark.parametrize(
        ("absent", "family"), [("torch", "TensorFlow"), ("tensorflow", "PyTorch")]
    )
    def test_with_one_framework_both_run_in_it(
        self, tmp_path: Path, monkeypatch: Any, absent: str, family: str
    ) -> None:
        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        pairs.hide_frameworks(monkeypatch, absent)
        report = compared(first, second)
        assert report.passed, report.verdict()
        assert report.forward.titles == (f"A in {family}", f"B in {family}")
        assert {row.difference for row in report.forward.rows} == {0.0}
        (unproven,) = report.not_proven
        assert unproven.startswith("that the two frameworks compute the same, both ran in one: ")

    def test_progress_says_what_runs(self, tmp_path: Path) -> None:
        said: list[str] = []

        class Progress(ByteProgress):
            def say(self, what: str) -> None:
                said.append(what)

        first, second = pairs.write_pair(tmp_path, pairs.nothing)
        verify_pair(first, second, progress=Progress(None))
        assert said == [
            f"running {title}, {dtype}"
            for dtype in ("float64", "float32")
            for title in ("A in PyTorch", "B in TensorFlow")
        ]
