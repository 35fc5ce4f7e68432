"""`verify` of one checkpoint, of any layout; of an encoder-decoder, both parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import verify
from conversion.convert import convert
from conversion.reports.html.page import page_of
from tests.conversion import pairs
from tests.conversion.small_checkpoints import require_frameworks, write_checkpoint
from xlm_core.errors import CheckpointError, MissingPackageError


@pytest.mark.parametrize(
    ("layout", "target"),
    [("facebook", "x.pth"), ("tf", "folder"), ("keras", "x.keras"), ("torch", "folder")],
)
def test_any_layout(tmp_path: Path, layout: str, target: str) -> None:
    require_frameworks()
    write_checkpoint(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / target, to=layout)
    report = verify(tmp_path / target)
    assert report.passed, report.verdict()
    assert report.layout == layout
    assert report.text().splitlines()[0] == f"XLMWithLMHeadModel in {tmp_path / target} ({layout})"
    assert json.loads(report.json())["layout"] == layout


def test_an_encoder_decoder(shared: Callable[[str], Path]) -> None:
    require_frameworks()
    report = verify(next(shared("golden/facebook/mt_encoder_decoder").glob("*.pth")))
    assert report.passed, report.verdict()
    assert report.architecture == "XLMForConditionalGeneration"
    assert not report.notes
    names = [row.name for row in report.rows if row.dtype == "float64"]
    parts = ("encoder_", "decoder_")
    states = [f"{part}hidden_states[{index}]" for part in parts for index in range(3)]
    assert {"logits", "loss", "cross_attentions[1]", *states} <= {*names}
    page = page_of(report)
    assert "decoder: attention of layer 1 to the source" in page
    assert page.count("<svg") >= 2
    assert "<h3>Decoder</h3>" in page


def test_with_one_framework_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path)
    pairs.hide_frameworks(monkeypatch)
    with pytest.raises(MissingPackageError, match="PyTorch is not installed"):
        verify(tmp_path)


def test_tied_tensors_that_differ_are_an_error(tmp_path: Path) -> None:
    def change(tensors: pairs.Tensors) -> None:
        tensors["pred_layer.proj.weight"] = tensors["transformer.embeddings.weight"] + 1

    with pytest.raises(CheckpointError, match="tied by the configuration"):
        verify(pairs.write_pair(tmp_path, change)[1])
