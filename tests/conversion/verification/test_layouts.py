"""`verify` of one checkpoint, of any layout; of an encoder-decoder, its encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import verify
from conversion.convert import convert
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


def test_the_encoder_of_an_encoder_decoder(shared: Callable[[str], Path]) -> None:
    require_frameworks()
    report = verify(next(shared("golden/facebook/mt_encoder_decoder").glob("*.pth")))
    assert report.passed, report.verdict()
    assert report.architecture == "XLMWithLMHeadModel"
    (note,) = report.notes
    assert note.startswith("an encoder-decoder (XLMForConditionalGeneration): its encoder was run")
    assert f"note: {note}" in report.text().splitlines()
    assert json.loads(report.json())["notes"] == [note]
    assert {"logits", "loss", "hidden_states[2]"} <= {row.name for row in report.rows}


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
